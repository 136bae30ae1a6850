"""Real keys, and statements as anybody can make and sign them with ssh-keygen alone."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

KEYGEN = shutil.which("ssh-keygen")
needs_keygen = pytest.mark.skipif(KEYGEN is None, reason="ssh-keygen is not installed")


def make_key(path: Path, kind: str = "ed25519", *options: str) -> Path:
    """A new key without a passphrase; its public half stands beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(path), *options]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def public(key: Path) -> str:
    """The public half, as it stands in a line of allowed signers."""
    return key.with_name(key.name + ".pub").read_text().strip()


def sign(path: Path, key: Path, namespace: str = "excise-approval") -> Path:
    """Sign a file as ``ssh-keygen -Y sign`` does; the signature."""
    signature = path.with_name(path.name + ".sig")
    signature.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(key), str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return signature


def canonical(value: Any) -> bytes:
    """The bytes of a statement."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def time(hours: float = 0) -> str:
    """A moment, so many hours from now."""
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=hours)
    return moment.isoformat().replace("+00:00", "Z")


def statement(case: Path, principal: str, user: str, role: str, plan: int = 1) -> dict[str, Any]:
    """What an approver signs about a plan of ``case``."""
    data = (case / f"plan/{plan:04}/header.json").read_bytes()
    header = json.loads(data)
    disposals = {unit["disposal"] for unit in header["units"] if unit["matches"]}
    return {
        "excise_statement": 1,
        "case": header["case"],
        "plan": plan,
        "plan_sha256": sha256(data).hexdigest(),
        "action": header["action"],
        "disposal": ",".join(sorted(disposals)),
        "policy_sha256": header["policy_sha256"],
        "role": role,
        "principal": principal,
        "user": user,
        "uid": os.getuid() + 1000 + sum(user.encode()),
        "host": socket.gethostname(),
        "from": time(-0.1),
        "until": time(2),
    }
