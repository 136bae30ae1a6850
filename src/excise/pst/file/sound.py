"""Which files were found sound in this process, so that each need not be read whole for every change of it.

A file counts as one that is known only where nobody can have written to it since: it is the same file, of the same
size, with the same header, and its times of change are the very same. In doubt it is not known.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from dataclasses import dataclass

from excise.pst.disk.formats import UNICODE

_KEPT = 64
# Two writes within one tick of the kernel's clock leave the same time; none of today's is longer.
_TICK = 20_000_000
# A file system that keeps times no finer than this (FAT, ext3, exFAT) cannot tell two writes from each other.
_COARSE = 1_000_000


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a write to a file changes: its size, its times of change in ns, and its header; and which file it is."""

    device: int
    inode: int
    size: int
    mtime: int
    ctime: int
    head: bytes


def stamp_of(fd: int) -> Stamp | None:
    """The stamp of the open file ``fd``; None where a later write could leave the same one.

    Waits where the file was written to within the last tick of the clock.
    """
    if fd < 0:
        return None
    info = os.fstat(fd)
    age = time.time_ns() - max(info.st_mtime_ns, info.st_ctime_ns)
    if age < 0 or not info.st_mtime_ns % _COARSE or not info.st_ctime_ns % _COARSE:
        return None
    if age < _TICK:
        time.sleep((_TICK - age) / 1e9)
        again = os.fstat(fd)
        if (again.st_size, again.st_mtime_ns, again.st_ctime_ns) != (info.st_size, info.st_mtime_ns, info.st_ctime_ns):
            return None
    head = os.pread(fd, UNICODE.header_size, 0)
    return Stamp(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns, head)


class SoundFiles:
    """The stamps of files that were found sound."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, int], Stamp] = OrderedDict()

    def __contains__(self, stamp: Stamp | None) -> bool:
        return stamp is not None and self._known.get((stamp.device, stamp.inode)) == stamp

    def add(self, stamp: Stamp | None) -> None:
        """Remember the file of ``stamp`` as it is now."""
        if stamp is not None:
            self._known[stamp.device, stamp.inode] = stamp
            self._known.move_to_end((stamp.device, stamp.inode))
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
