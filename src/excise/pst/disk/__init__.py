"""The on-disk structures of [MS-PST] under Microsoft's own field names, pack beside unpack.

Readers and writers share this layer and nothing else. No function here reads a file or follows a reference.
"""
