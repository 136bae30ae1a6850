"""Stores, folders, messages and attachments ([MS-PST] 2.4)."""
