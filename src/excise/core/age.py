"""Encryption to people's public keys, in the age format (https://age-encryption.org/v1), by pyrage.

Recipients are age's X25519 keys (``age1…``) and OpenSSH's public keys (``ssh-ed25519``, ``ssh-rsa``); identities are
the private halves. Everything is streamed; nothing is held whole in memory. What this writes, the public ``age`` opens.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NewType, Protocol

from excise.core.errors import DoesNotVerify, ExciseError, UsageError
from excise.core.files import open_nofollow, os_error, read_regular
from excise.core.secrets import ask_secret
from excise.core.text import shown

#: What the name of an encrypted file ends with.
SUFFIX = ".age"
#: Holds the passphrase of an identity file that has one.
PASSPHRASE = "EXCISE_IDENTITY_PASSPHRASE"  # noqa: S105 - the variable's name
_X25519 = re.compile(r"age1[02-9ac-hj-np-z]{58}")
_SSH = re.compile(r"(ssh-ed25519|ssh-rsa) +([A-Za-z0-9+/]+={0,2})(?: .*)?")
_STANZA = re.compile(r"-> (\S+)(?: (\S+))?")
_HEADER, _LIMIT = 1 << 20, 4 << 20

#: A private key, as the library has it.
Identity = NewType("Identity", object)


class WrongKey(ExciseError):
    """None of the given private keys opens an encrypted file."""

    exit_code = 2
    error_id = "wrong-key"


class EvidenceEncrypted(ExciseError):
    """Evidence is encrypted, and no private key was given."""

    exit_code = 2
    error_id = "evidence-encrypted"


class _Writes(Protocol):
    def write(self, data: bytes, /) -> object:
        """Take ``data``."""


# Recipients


def read_recipients(given: Iterable[str]) -> tuple[str, ...]:
    """The public keys that ``given`` means: each a key, or the path of a file of keys, one a line, ``#`` before notes.

    In the order given, each once, without comments. A UsageError where one is no key that age can encrypt to.
    """
    found: list[str] = []
    for value in given:
        if value.startswith(("age1", "ssh-")):
            found.append(recipient(value))
            continue
        path = Path(value)
        try:
            lines = read_regular(path, _LIMIT).decode("utf-8", "replace").splitlines()
        except OSError as error:
            raise os_error(error, path, "reading the recipients' keys") from error
        keys = [recipient(line.strip(), str(path)) for line in lines if line.strip() and line.strip()[0] != "#"]
        if not keys:
            raise UsageError(f"{path}: expected recipients' public keys, one a line, found none")
        found += keys
    return tuple(dict.fromkeys(found))


def recipient(text: str, where: str = "") -> str:
    """The public key ``text`` without its comment; a UsageError, naming ``where``, for what is none."""
    place = f"{where}: " if where else ""
    if text.startswith("AGE-SECRET-KEY-") or "PRIVATE KEY" in text:
        raise UsageError(f"{place}this is a private key; a recipient's public key is needed", hint="Keep it secret.")
    ssh = _SSH.fullmatch(text)
    if ssh is None and _X25519.fullmatch(text) is None:
        raise UsageError(
            f"{place}{shown(text, 60)!r} is no public key that age can encrypt to",
            hint="Give age1…, ssh-ed25519 … or ssh-rsa …, or a file of such lines.",
        )
    found = f"{ssh[1]} {ssh[2]}" if ssh else text
    if ssh is not None:
        try:
            base64.b64decode(ssh[2], validate=True)
        except binascii.Error as error:
            raise UsageError(f"{place}{shown(text, 60)!r} is no public key: its base64 is damaged") from error
    return found


def key_name(text: str) -> str:
    """How a public key is shown: an age key as it is, an OpenSSH key by its fingerprint, as ``ssh-keygen -l`` does."""
    kind, _, data = text.partition(" ")
    if not data:
        return text
    digest = base64.b64encode(sha256(base64.b64decode(data)).digest()).decode().rstrip("=")
    return f"{kind} SHA256:{digest}"


def stanza(text: str) -> str:
    """What the header of a file that is encrypted to this key names: a kind, and for OpenSSH's keys a tag."""
    kind, _, data = text.partition(" ")
    if not data:
        return "X25519"
    return f"{kind} {base64.b64encode(sha256(base64.b64decode(data)).digest()[:4]).decode().rstrip('=')}"


def stanzas(path: Path) -> Counter[str]:
    """What the header of the encrypted file at ``path`` names, as ``stanza`` has it; DoesNotVerify where it is none."""
    with os.fdopen(open_nofollow(path), "rb") as stream:
        head = stream.read(_HEADER)
    lines = head.partition(b"\n--- ")[0].decode("latin-1").split("\n")
    if lines[0] != "age-encryption.org/v1" or b"\n--- " not in head:
        raise DoesNotVerify(f"{path}: expected the header of an age file, found something else")
    found = [match for line in lines if (match := _STANZA.match(line)) and not match[1].endswith("-grease")]
    return Counter(f"{match[1]} {match[2]}" if match[1].startswith("ssh-") else match[1] for match in found)


# Identities


def read_identities(paths: Iterable[Path]) -> tuple[Identity, ...]:
    """The private keys in files: age's, OpenSSH's, or age's encrypted by a passphrase; it is asked for where needed."""
    return tuple(identity for path in paths for identity in _read_identity(path))


def _read_identity(path: Path) -> Iterator[Identity]:
    try:
        data = read_regular(path, _LIMIT)
    except OSError as error:
        raise os_error(error, path, "reading the private key") from error
    pyrage = _pyrage()
    if data.startswith((b"age-encryption.org/v1", b"-----BEGIN AGE")):
        try:
            data = pyrage.passphrase.decrypt(data, _passphrase(path))
        except pyrage.DecryptError as error:
            raise WrongKey(f"{path}: the passphrase does not open it") from error
    try:
        if b"PRIVATE KEY-----" in data:
            yield _ssh_identity(path, data)
            return
        lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise UsageError(f"{path}: expected a private key, found none")
        for line in keys:
            yield Identity(pyrage.x25519.Identity.from_str(line))
    except pyrage.IdentityError as error:
        raise UsageError(
            f"{path}: expected a private key of age or OpenSSH (ed25519, rsa), found something else",
            hint="Give the file that age-keygen or ssh-keygen wrote.",
        ) from error


def _ssh_identity(path: Path, data: bytes) -> Identity:
    identity = _pyrage().ssh.Identity
    try:
        return Identity(identity.from_buffer(data))
    except _pyrage().IdentityError as error:
        if "must be decrypted" not in str(error):
            raise
    from cryptography.hazmat.primitives import serialization as keys

    try:
        key = keys.load_ssh_private_key(data, _passphrase(path).encode())
    except ValueError as error:
        raise WrongKey(f"{path}: the passphrase does not open it") from error
    plain = key.private_bytes(keys.Encoding.PEM, keys.PrivateFormat.OpenSSH, keys.NoEncryption())
    return Identity(identity.from_buffer(plain))


def _passphrase(path: Path) -> str:
    given = os.environ.get(PASSPHRASE) or ask_secret(f"Passphrase of {shown(str(path))}")
    if not given:
        raise UsageError(f"{path}: it is locked by a passphrase, and there is none", hint=f"Set {PASSPHRASE}.")
    return given


class Witness:
    """A key that lives in this object alone: what is encrypted to it too can be read again here, and nowhere later."""

    def __init__(self) -> None:
        """Make one."""
        self.identity = Identity(_pyrage().x25519.Identity.generate())
        self.recipient = str(self.identity.to_public())  # type: ignore[attr-defined]


# Streams


def check_recipients(recipients: Iterable[str]) -> None:
    """UsageError where the library cannot encrypt to one of ``recipients``, or is not there."""
    _recipients(recipients)


def encrypt(source: BinaryIO, target: BinaryIO, recipients: Iterable[str]) -> None:
    """Encrypt the rest of ``source`` into ``target``. An OSError of either passes."""
    with _faults() as watch:
        _pyrage().encrypt_io(watch(source), watch(target), _recipients(recipients))


def decrypt(path: Path, target: _Writes, identities: Sequence[Identity]) -> None:
    """Decrypt the file at ``path`` into ``target``. WrongKey where no identity fits, DoesNotVerify for damage.

    What was written before damage was found is not to be used. An OSError passes.
    """
    pyrage = _pyrage()
    with os.fdopen(open_nofollow(path), "rb") as stream, _faults() as watch:
        try:
            pyrage.decrypt_io(watch(stream), watch(target), list(identities))
        except pyrage.DecryptError as error:
            if "No matching keys" in str(error):
                raise WrongKey(f"{path}: none of the given private keys opens it") from error
            raise DoesNotVerify(f"{path}: the encrypted file is damaged or cut ({error})") from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise DoesNotVerify(f"{path}: the encrypted file is damaged or cut ({error})") from error


class _Watched:
    """A stream for the library, which forgets the errors of streams: what ``tell`` is given is the real one."""

    def __init__(self, stream: Any, tell: Callable[[OSError], None]) -> None:
        self._stream, self._tell = stream, tell

    def read(self, size: int = -1) -> bytes:
        try:
            data: bytes = self._stream.read(size)
        except OSError as error:
            self._tell(error)
            raise
        return data

    def write(self, data: bytes) -> int:
        try:
            self._stream.write(data)
        except OSError as error:
            self._tell(error)
            raise
        return len(data)

    def flush(self) -> None:
        """Nothing: whoever opened the stream flushes it."""


@contextmanager
def _faults() -> Iterator[Callable[[Any], _Watched]]:
    """Raise the first error of the watched streams, whatever the library made of it."""
    found: list[OSError] = []
    try:
        yield lambda stream: _Watched(stream, found.append)
    except Exception as error:
        if found:
            raise found[0] from error
        raise


def _recipients(texts: Iterable[str]) -> list[Any]:
    pyrage = _pyrage()
    found = []
    for text in texts:
        kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
        try:
            found.append(kind.Recipient.from_str(text))
        except pyrage.RecipientError as error:
            raise UsageError(f"{shown(text, 80)}: not a public key: {shown(str(error), 100)}") from error
    return found


def _pyrage() -> Any:
    try:
        import pyrage
        import pyrage.passphrase
        import pyrage.ssh
        import pyrage.x25519
    except ImportError as error:
        raise UsageError(
            "encrypting or opening evidence needs the package pyrage", hint="pip install 'excise[encrypt]'"
        ) from error
    return pyrage
