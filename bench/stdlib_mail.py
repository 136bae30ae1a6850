"""What a script does with Python's ``mailbox`` module: the yardstick of bench/run.py.

python bench/stdlib_mail.py search mbox|maildir PATH SUBJECT          print how many messages have the subject
python bench/stdlib_mail.py move   mbox|maildir PATH SUBJECT TARGET   move them into the mbox TARGET
"""

from __future__ import annotations

import mailbox
import sys
from email.header import decode_header, make_header


def _open(kind: str, path: str) -> mailbox.mbox | mailbox.Maildir:
    return mailbox.mbox(path, create=False) if kind == "mbox" else mailbox.Maildir(path, create=False)


def _matches(message: mailbox.Message, subject: str) -> bool:
    return str(make_header(decode_header(message["Subject"] or ""))) == subject


def search(kind: str, path: str, subject: str) -> int:
    """The number of messages in ``path`` that have ``subject``."""
    return sum(_matches(message, subject) for message in _open(kind, path))


def move(kind: str, path: str, subject: str, target: str) -> int:
    """Move the messages that have ``subject`` out of ``path`` into the mbox ``target``; their number."""
    source, copies = _open(kind, path), mailbox.mbox(target)
    source.lock()
    found = [key for key, message in source.iteritems() if _matches(message, subject)]
    for key in found:
        copies.add(source[key])
    copies.flush()
    copies.close()
    for key in found:
        source.remove(key)
    source.flush()
    source.unlock()
    return len(found)


if __name__ == "__main__":
    print((search if sys.argv[1] == "search" else move)(*sys.argv[2:]))
