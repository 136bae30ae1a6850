"""What bench/exchange.py measures Excise against: exchangelib's querysets in the usual way, a thread a mailbox.

python bench/exchange_querysets.py PORT SUBJECT THREADS       mailboxes.txt in the working directory says which
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from exchangelib import BASIC, IMPERSONATION, Account, Build, Configuration, Credentials, Version


def move(address: str, config: Configuration, subject: str) -> int:
    """Save the MIME of what has the subject, then delete it; how many there were."""
    account = Account(address, config=config, autodiscover=False, access_type=IMPERSONATION)
    found = 0
    for item in account.msg_folder_root.walk().filter(subject__contains=subject):
        Path(f"{address}-{found}.eml").write_bytes(item.mime_content)
        item.soft_delete()
        found += 1
    return found


def main() -> None:
    """All mailboxes."""
    port, subject, threads = sys.argv[1:]
    config = Configuration(
        service_endpoint=f"http://127.0.0.1:{port}/EWS/Exchange.asmx",
        credentials=Credentials(os.environ["EXCISE_EWS_USER"], os.environ["EXCISE_EWS_PASSWORD"]),
        auth_type=BASIC,
        version=Version(Build(15, 2, 1118, 7)),
        max_connections=int(threads),
    )
    addresses = Path("mailboxes.txt").read_text(encoding="ascii").split()
    with ThreadPoolExecutor(int(threads)) as pool:
        print(sum(pool.map(lambda address: move(address, config, subject), addresses)))


if __name__ == "__main__":
    main()
