"""PST-CRC, wSig and the two encodings of data blocks ([MS-PST] 5.1, 5.2, 5.3, 5.5).

The encodings hide text from a glance; they are not encryption and need no key from outside the file.
"""

from __future__ import annotations

import zlib

CRYPT_NONE = 0x00
CRYPT_PERMUTE = 0x01
CRYPT_CYCLIC = 0x02
CRYPT_EDPCRYPTED = 0x10

# The 768-byte table of 5.1: R encodes, S is its own inverse, I (the inverse of R) decodes.
_R = bytes.fromhex(
    "41361362a8216ebbf416cc047f64e85d1ef2cb2a74c55e35d295479e962d9a88"
    "4c7d843fdbac31b6485ff6c4d8398be7233b388ec8c1df25b120a546604e9cfb"
    "aad35651457c550007c92b9d859b09a08fadb30f63ab894bd7a7155a716642bf"
    "264a6b98faea7753b270052cfd593a867ece06eb827857c78d43afb41cd45bcd"
    "e2e9274fc3087280cfb0eff5286dbe304d3492d50e3c2232e5e4f99fc2d10a81"
    "12e1ee918376e397e6618a1779a4b7dc907a5c8c02a6ca69de501a1193b95287"
    "58fced1d37491b6ae0293399bd6cd994f340546ff0c673b8d63e6518441fdd67"
    "10f10c19ecae03a1147ba90bfff8a3c0a201f72ebc2468750dfeba2fb5d0da3d"
)
_S = bytes.fromhex(
    "14530f56b3c87a9ceb65481716159f02cc547c83000d0c0ba262a876dbd9edc7"
    "c5a4dcac8574d6d0a79bae9a967166c36399b8dd73928e847da55ed15d93b157"
    "5150808952944f4e0a6bbc8d7f6e47464140440111cb033ff7f4e1a98f3c3af9"
    "fbf0193082092ec99da08649ee6f4d6dc42d813425871b88aafc06a11238fd4c"
    "4272641337246a757743ffe6b44b365ce4d8353d45b92cecb7312b290768a30e"
    "697b189e2139be281a5b78f523ca2ab0af3efe048ce7e5983295d3f64ae8a6ea"
    "e9f3d52f7020f21f0567ad5510cecde3273bdabad7c226d4911dd21c2233f8fa"
    "f15aefcf90b68bb5bdc0bf08971e6ce261e0c6c159abbb58de5fdf60797eb28a"
)
_I = bytes(_R.index(value) for value in range(256))


def crc(data: bytes | memoryview) -> int:
    """PST-CRC (5.3): reflected CRC-32 with initial value 0 and no final XOR, which is not zlib's CRC-32."""
    return zlib.crc32(data, 0xFFFFFFFF) ^ 0xFFFFFFFF


def signature(ib: int, bid: int) -> int:
    """``wSig`` (5.5) of the block or page ``bid`` at offset ``ib``."""
    x = (ib ^ bid) & 0xFFFFFFFF
    return x >> 16 ^ x & 0xFFFF


def decode(data: bytes, bCryptMethod: int, bid: int) -> bytes:
    """``data`` of the data block ``bid`` as it was before ``encode``. ValueError for a method that needs a key."""
    if bCryptMethod == CRYPT_PERMUTE:
        return data.translate(_I)
    return _plain_or_cyclic(data, bCryptMethod, bid)


def encode(data: bytes, bCryptMethod: int, bid: int) -> bytes:
    """``data`` of the data block ``bid`` as it stands in the file. ValueError for a method that needs a key."""
    if bCryptMethod == CRYPT_PERMUTE:
        return data.translate(_R)
    return _plain_or_cyclic(data, bCryptMethod, bid)


def _plain_or_cyclic(data: bytes, bCryptMethod: int, bid: int) -> bytes:
    if bCryptMethod == CRYPT_NONE:
        return data
    if bCryptMethod == CRYPT_CYCLIC:
        return _cyclic(data, bid)
    raise ValueError(f"bCryptMethod 0x{bCryptMethod:02x} needs a key that is not in the file")


def _cyclic(data: bytes, bid: int) -> bytes:
    """5.2, its own inverse; the key is the low half of the BID.

    All bytes that share their two key bytes go through one 256-byte table, so the cost per byte is a table look-up.
    """
    key = bid & 0xFFFFFFFF
    w = (key >> 16 ^ key) & 0xFFFF
    out = bytearray(data)
    for start, length, high in _runs(w, len(data)):
        low = w + start & 0xFF
        middle = bytes((_S[(_R[b] + high) & 0xFF] - high) & 0xFF for b in range(256))
        for at in range(start, start + length):
            b = middle[(data[at] + low) & 0xFF]
            out[at] = (_I[b] - low) & 0xFF
            low = low + 1 & 0xFF
    return bytes(out)


def _runs(w: int, size: int) -> list[tuple[int, int, int]]:
    """Cut ``size`` bytes where the high key byte changes: (start, length, high)."""
    runs, start = [], 0
    while start < size:
        value = w + start & 0xFFFF
        length = min(0x100 - (value & 0xFF), size - start)
        runs.append((start, length, value >> 8))
        start += length
    return runs
