"""OpenSSH signatures (``ssh-keygen -Y``): made with a key file, an agent, a smart card or a hardware key, and verified.

``ssh-keygen`` alone signs and verifies. What is read here of a signature (PROTOCOL.sshsig) is the key that it says it
was made with, so that one key under two names is noticed; ``ssh-keygen`` proves that it was.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from excise.core.errors import ExciseError, UsageError
from excise.core.text import shown

_ARMOR = re.compile(rb"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)\n-----END SSH SIGNATURE-----\n?\Z")
_MAGIC = b"SSHSIG"
_LIMIT = 1 << 16
#: The first field of a line of allowed signers: principals, quoted where they hold blanks.
_PRINCIPALS = re.compile(r'\s*(?:"([^"]*)"|(\S+))\s+(.*)')


class BadSignature(ExciseError):
    """A signature that does not verify; the message says why."""

    exit_code = 4
    error_id = "bad-signature"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a signature says of itself: the public key as OpenSSH encodes it, and what it was made for."""

    data: bytes
    key: bytes
    key_type: str
    namespace: str

    @property
    def fingerprint(self) -> str:
        """The key's fingerprint as ``ssh-keygen -l`` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.key).digest()).decode().rstrip("=")


def read_signature(data: bytes) -> Signature:
    """``data`` as a signature; BadSignature where it is not one, or is one by a certificate."""
    found = _ARMOR.match(data) if len(data) <= _LIMIT else None
    try:
        blob = base64.b64decode(found[1], validate=False) if found else b""
        if blob[:6] != _MAGIC or blob[6:10] != b"\0\0\0\1":
            raise BadSignature("it is not an OpenSSH signature")
        key, rest = _string(blob[10:])
        namespace, _ = _string(rest)
        key_type = _string(key)[0].decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise BadSignature("it is not an OpenSSH signature") from error
    if "-cert-v" in key_type:
        raise BadSignature(f"it was made with a certificate ({shown(key_type)}); only keys themselves are taken")
    return Signature(data, key, key_type, namespace.decode("utf-8", "replace"))


def _string(data: bytes) -> tuple[bytes, bytes]:
    """The first string of an SSH encoding, and what follows it."""
    size = int.from_bytes(data[:4], "big")
    if len(data) < 4 + size or len(data) < 4:
        raise ValueError("it ends too early")
    return data[4 : 4 + size], data[4 + size :]


def principals_of(key: bytes, allowed_signers: bytes) -> set[str]:
    """Every principal that a line of ``allowed_signers`` gives ``key`` to, whatever its options."""
    found: set[str] = set()
    for line in allowed_signers.decode("utf-8", "surrogateescape").splitlines():
        parts = _PRINCIPALS.match(line)
        if parts and not line.lstrip().startswith("#") and any(_is_key(token, key) for token in parts[3].split()):
            found.update(name for name in (parts[1] or parts[2]).split(",") if name)
    return found


def _is_key(token: str, key: bytes) -> bool:
    try:
        return base64.b64decode(token, validate=True) == key
    except (binascii.Error, ValueError):
        return False


def sign(data: bytes, key: Path, namespace: str) -> bytes:
    """Sign ``data``. ``key``: a private key, or a public one whose private half an agent or a device has.

    What asks for a passphrase, a PIN or a touch, asks at the terminal.
    """
    done = _keygen(["-q", "-Y", "sign", "-n", namespace, "-f", str(key.absolute())], data, quiet=False)
    if done.returncode or not _ARMOR.match(done.stdout):
        raise UsageError(
            f"{key}: ssh-keygen does not sign with it (exit status {done.returncode})",
            hint="Name your private key, or the public half of one that your agent (SSH_AUTH_SOCK) or device has.",
        )
    return done.stdout


def check(data: bytes, signature: bytes, namespace: str) -> None:
    """BadSignature unless ``signature`` is one over ``data``, by whatever key."""
    read_signature(signature)
    with tempfile.TemporaryDirectory(prefix="excise-") as place:
        path = _put(Path(place), "signature", signature)
        _verified(_keygen(["-Y", "check-novalidate", "-n", namespace, "-s", str(path)], data))


def verify(
    data: bytes,
    signature: bytes,
    *,
    principal: str,
    namespace: str,
    allowed_signers: bytes,
    revoked: Sequence[bytes] = (),
    at: datetime | None = None,
) -> None:
    """BadSignature unless ``principal`` signed ``data`` with a key that counted at that time (now) and is not revoked.

    ``revoked``: the contents of files of revoked keys.
    """
    with tempfile.TemporaryDirectory(prefix="excise-") as name:
        place = Path(name)
        command = ["-Y", "verify", "-n", namespace, "-I", principal]
        command += ["-f", str(_put(place, "allowed", allowed_signers)), "-s", str(_put(place, "signature", signature))]
        if at is not None:
            command.append(f"-Overify-time={at.astimezone(UTC):%Y%m%d%H%M%S}")
        for number, keys in enumerate(revoked):
            _verified(_keygen([*command, "-r", str(_put(place, f"revoked-{number}", keys))], data))
        if not revoked:
            _verified(_keygen(command, data))


def _put(place: Path, name: str, data: bytes) -> Path:
    path = place / name
    path.write_bytes(data)
    return path


def _verified(done: subprocess.CompletedProcess[bytes]) -> None:
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["Could not verify signature."]
        raise BadSignature(f"ssh-keygen says: {shown(said[0], 200)}")


def _keygen(arguments: list[str], data: bytes, *, quiet: bool = True) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"LC_ALL": "C", "TZ": "UTC"}
    try:
        return subprocess.run(
            ["ssh-keygen", *arguments],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if quiet else None,
            env=environment,
            check=False,
        )
    except FileNotFoundError as error:
        raise UsageError(
            "signatures need ssh-keygen, which is not installed", hint="Install OpenSSH's client programs."
        ) from error
