"""RFC 3161 requests and answers: made and read with rfc3161-client, and with ``openssl ts`` what it cannot read.

The library holds answers to DER to the letter, and some authorities (OpenSSL's own among them) do not sort the
certificates of an answer as DER wants.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excise.core.clock import iso
from excise.core.errors import ExciseError, UsageError

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

_SHA256 = ("2.16.840.1.101.3.4.2.1", "sha256")


class NotStamped(ExciseError):
    """The authority did not answer, or its answer is no stamp of what was asked for; the request is kept."""

    exit_code = 6
    error_id = "not-stamped"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an authority answered: ``refusal`` where it gave no stamp; the rest is the stamp's.

    ``time``: ISO 8601. ``response``: as the library reads it, None where only ``openssl`` could.
    """

    refusal: str
    algorithm: str = ""
    imprint: bytes = b""
    nonce: int | None = None
    time: str = ""
    response: TimeStampResponse | None = None


def read_stamp(response: bytes, data: bytes, request: bytes | None = None) -> Answer:
    """A time stamp of ``data``; NotStamped where it is none, or not the answer to ``request``."""
    try:
        answer = by_library(response)
    except ValueError as error:
        answer = by_openssl(response, f"expected a time stamp, found something else ({error})")
    if answer.refusal:
        raise NotStamped(f"the authority refused: {answer.refusal}")
    if answer.algorithm not in _SHA256 or answer.imprint != sha256(data).digest():
        raise NotStamped("the time stamp is of something else (its message imprint is not this file's SHA-256)")
    if request is not None and answer.nonce != _nonce(request):
        raise NotStamped("the time stamp answers another request (its nonce is another)")
    return answer


def by_library(response: bytes) -> Answer:
    """The answer as rfc3161-client reads it; a ValueError where it does not."""
    answer = require_library().decode_timestamp_response(response)
    if answer.status not in (0, 1):
        return Answer(f"status {answer.status} {' '.join(answer.status_string)}".rstrip())
    info = answer.tst_info
    hashed = info.message_imprint
    algorithm = hashed.hash_algorithm.dotted_string
    return Answer("", algorithm, hashed.message, info.nonce, str(iso(info.gen_time)), answer)


def by_openssl(response: bytes, otherwise: str) -> Answer:
    """The answer as ``openssl ts -reply -text`` shows it; NotStamped with the text ``otherwise`` where it does not."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(response)
        file.flush()
        try:
            command = ["openssl", "ts", "-reply", "-in", file.name, "-text"]
            done = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            raise NotStamped(f"{otherwise}, and there is no openssl to read it with") from None
    told = dict(re.findall(r"(?m)^([A-Z][A-Za-z ]+): *(.*)$", done.stdout.decode("utf-8", "replace")))
    if done.returncode or "Status" not in told:
        raise NotStamped(otherwise)
    if not told["Status"].startswith("Granted"):
        return Answer(f"{told['Status']} {told.get('Status description', '')}".rstrip())
    lines = re.findall(rb"(?m)^    [0-9a-f]{4} - ((?:[0-9a-f]{2}[ -])+)", done.stdout)
    imprint = bytes.fromhex(b"".join(lines).replace(b"-", b" ").decode())
    nonce = told.get("Nonce", "")
    try:
        when = datetime.strptime(re.sub(r"\.\d+", "", told["Time stamp"]), "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
        number = int(nonce, 16) if nonce.startswith("0x") else None
    except (KeyError, ValueError) as error:
        raise NotStamped(otherwise) from error
    return Answer("", told.get("Hash Algorithm", ""), imprint, number, str(iso(when)))


def check_authority(answer: Answer, data: bytes, stamp: Path, roots: Path) -> None:
    """Check who signed a stamp of ``data`` against a file of root certificates (PEM); NotStamped for anybody else."""
    if answer.response is None:
        _check_by_openssl(data, stamp, roots)
        return
    from cryptography import x509
    from rfc3161_client import VerificationError, VerifierBuilder

    try:
        builder = VerifierBuilder()
        for certificate in x509.load_pem_x509_certificates(roots.read_bytes()):
            builder = builder.add_root_certificate(certificate)
        builder.build().verify_message(answer.response, data)
    except (VerificationError, ValueError) as error:
        raise NotStamped(f"not signed by an authority below {roots} ({error})") from error


def _check_by_openssl(data: bytes, stamp: Path, roots: Path) -> None:
    digest = sha256(data).hexdigest()
    command = ["openssl", "ts", "-verify", "-digest", digest, "-in", str(stamp), "-CAfile", str(roots)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[:300]
        raise NotStamped(f"not signed by an authority below {roots} (openssl: {said})")


def require_library() -> Any:
    """The library that makes requests and reads answers; a UsageError where it is not there."""
    try:
        import rfc3161_client
    except ImportError:
        raise UsageError(
            "time stamps need the package rfc3161-client, which is not there", hint="pip install 'excise[timestamp]'"
        ) from None
    return rfc3161_client


def make_request(data: bytes) -> bytes:
    """A request for a stamp of ``data``, with a nonce, that asks for the authority's certificate."""
    library = require_library()
    builder = library.TimestampRequestBuilder().data(data).hash_algorithm(library.HashAlgorithm.SHA256)
    request: bytes = builder.nonce(nonce=True).cert_request(cert_request=True).build().as_bytes()
    return request


def _nonce(request: bytes) -> int:
    """The nonce of one of our own requests: version, imprint, nonce, certReq, in DER."""
    found = re.search(rb"\x04\x20.{32}\x02([\x01-\x14])(.*)\x01\x01\xff\Z", request, re.DOTALL)
    if found is None or len(found[2]) != found[1][0]:
        raise NotStamped("the kept request cannot be read", hint="Its .tsq is damaged: see excise verify CASE")
    return int.from_bytes(found[2], "big", signed=True)
