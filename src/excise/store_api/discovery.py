"""From what the user named to the mailboxes that it means (S03, S28).

A source is a path, whose kind is found from its content, or ``kind:rest``. A directory means every store below it
that a store surely recognises; symbolic links below it are not followed; a case is never a source. Of a server, whose
mailboxes cannot be listed, just those are meant that the user names.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from excise.core.errors import DamagedInput, ExciseError, Refused, SourceUnavailable, UsageError
from excise.core.files import open_nofollow, os_error
from excise.core.marker import enclosing_case, is_case
from excise.store_api.protocols import Addressed, MailboxInfo, NotSearched
from excise.store_api.registry import kinds, store

_HEAD = 4096
_DEPTH = 200


@dataclass(slots=True)
class Scope:
    """What the sources came to: mailboxes in a stable order, what could not be opened, and what was passed over.

    ``left_out``: how many mailboxes of the sources are not among those that were named.
    """

    mailboxes: list[MailboxInfo] = field(default_factory=list)
    not_searched: list[NotSearched] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    other_files: int = 0
    left_out: int = 0


def find_mailboxes(sources: Sequence[str], wanted: Sequence[str] = (), parts: Sequence[str] = ()) -> Scope:
    """The mailboxes that ``sources`` mean, cut down to those named in ``wanted`` where it is not empty.

    ``parts``: which parts of a server's mailboxes are meant; each is a mailbox of its own here.

    A source that is not there or holds no mail is an error, so is a wanted name that no mailbox has: nothing is
    passed over in silence.
    """
    scope = Scope()
    if not sources:
        raise UsageError(
            "no source is named", hint="Name a file or a directory, as in: excise search /var/mail --subject …"
        )
    servers = Scope()
    for source in sources:
        if _add_server(source, wanted, parts, servers):
            continue
        before = len(scope.mailboxes) + len(scope.not_searched)
        _add_source(source, scope)
        if len(scope.mailboxes) + len(scope.not_searched) == before:
            found = "an empty file (0 bytes)" if _is_empty(source) else "no mail store that Excise knows"
            raise DamagedInput(
                f"{source}: expected mail, found {found}",
                hint=f"Name its kind if you are sure, as in mbox:{source} (kinds: {', '.join(kinds())}).",
            )
    if wanted:
        _select(scope, wanted, servers)
    scope.mailboxes += servers.mailboxes
    scope.not_searched += servers.not_searched
    _drop_doubles(scope)
    return scope


def _add_server(source: str, wanted: Sequence[str], parts: Sequence[str], servers: Scope) -> bool:
    """Add the mailboxes of a server, in the order in which they are named; False where ``source`` is none."""
    kind, _, rest = source.partition(":")
    found = store(kind) if rest and kind in kinds() else None
    if not isinstance(found, Addressed):
        return False
    for one in found.named(source, wanted, parts):
        if isinstance(one, MailboxInfo):
            servers.mailboxes.append(one)
        else:
            servers.not_searched.append(one)
    return True


def _add_source(source: str, scope: Scope) -> None:
    kind, _, rest = source.partition(":")
    if rest and kind in kinds():
        if store(kind).capabilities.local_files:
            _add_path(Path(rest), scope, kind)
        else:
            _add_mailboxes(kind, rest, scope)
    elif re.match(r"[a-z][a-z0-9+.-]*://", source):
        listing = kind in ("ldap", "ldaps")
        raise UsageError(
            f"{source}: there is no store of the kind {kind!r}",
            hint="A directory says which mailboxes there are, and holds none: name it with --directory."
            if listing
            else f"Known kinds: {', '.join(kinds())}.",
        )
    else:
        _add_path(Path(source), scope, None)


def _is_empty(source: str) -> bool:
    path = Path(source)
    return path.is_file() and not path.stat().st_size


def _add_path(path: Path, scope: Scope, kind: str | None) -> None:
    try:
        path = path.resolve(strict=True)
        info = path.stat()
        case = enclosing_case(path)
    except (OSError, RuntimeError) as error:
        problem = error if isinstance(error, OSError) else OSError(0, "too many symbolic links")
        raise os_error(problem, path, "opening the source") from error
    if case is not None:
        raise Refused(
            "S28",
            f"{path}: lies in the case {case}; evidence is never a source",
            hint="Copy the mailbox out of the case first, and name the copy.",
        )
    if stat.S_ISDIR(info.st_mode):
        _walk(path, scope, kind, 0)
    elif kind is not None:
        _add_mailboxes(kind, str(path), scope)
    else:
        found = _kind_of_file(path)
        if found is not None:
            _add_mailboxes(found, str(path), scope)


def _add_mailboxes(kind: str, rest: str, scope: Scope) -> None:
    try:
        for found in store(kind).mailboxes(f"{kind}:{rest}"):
            (scope.mailboxes if isinstance(found, MailboxInfo) else scope.not_searched).append(found)  # type: ignore[arg-type]
    except ExciseError as error:
        scope.not_searched.append(NotSearched(f"{kind}:{rest}", error.text(), error.exit_code))


def _kind_of_file(path: Path) -> str | None:
    fd = open_nofollow(path)
    try:
        head = os.pread(fd, _HEAD, 0)
    finally:
        os.close(fd)
    return next((kind for kind in _local_kinds() if store(kind).claims(path, head)), None)


def _local_kinds() -> Iterator[str]:
    return (kind for kind in kinds() if store(kind).capabilities.local_files)


def _walk(directory: Path, scope: Scope, only: str | None, depth: int, claimed: str | None = None) -> None:
    """Add every store below ``directory``. ``claimed``: the kind of a directory above that has its loose files
    already."""
    if is_case(directory):
        scope.passed_over.append(f"{directory}: a case, which is never a source (S28)")
        return
    if depth > _DEPTH:
        scope.not_searched.append(NotSearched(str(directory), f"more than {_DEPTH} directories deep", 7))
        return
    for kind in _local_kinds():
        if kind != claimed and only in (None, kind) and store(kind).claims(directory, b""):
            _add_mailboxes(kind, str(directory), scope)
            if kind == "maildir":
                return
            claimed = kind
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError as error:
        scope.not_searched.append(
            NotSearched(str(directory), os_error(error, directory, "listing the directory").text())
        )
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.is_symlink():
            scope.passed_over.append(f"{path}: a symbolic link, not followed; name what it points to if you mean it")
        elif entry.is_dir(follow_symlinks=False):
            _walk(path, scope, only, depth + 1, claimed)
        elif entry.is_file(follow_symlinks=False):
            _add_file(path, scope, only, claimed)


def _add_file(path: Path, scope: Scope, only: str | None, claimed: str | None) -> None:
    try:
        kind = _kind_of_file(path)
    except (OSError, SourceUnavailable) as error:
        reason = os_error(error, path, "opening the file").text() if isinstance(error, OSError) else error.text()
        scope.not_searched.append(NotSearched(str(path), reason))
        return
    if kind is None or only not in (None, kind):
        scope.other_files += 1
    elif kind != claimed or _is_archive(path):
        _add_mailboxes(kind, str(path), scope)


def _is_archive(path: Path) -> bool:
    """True for a zip or tar: a store of its own also where the tree around it is one."""
    import tarfile
    import zipfile

    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def _drop_doubles(scope: Scope) -> None:
    seen: dict[str, str] = {}
    kept = []
    for info in scope.mailboxes:
        first = seen.setdefault(info.locator, info.name)
        if first is info.name:
            kept.append(info)
        else:
            scope.passed_over.append(f"{info.name}: the same mailbox as {first}")
    scope.mailboxes = kept


def _select(scope: Scope, wanted: Iterable[str], servers: Scope) -> None:
    """Cut ``scope`` down to ``wanted``; a name that nothing has, neither here nor on the servers, is an error."""
    names = list(dict.fromkeys(wanted))

    def is_meant(name: str) -> bool:
        return any(name == want or Path(name).name == want or name.endswith("/" + want) for want in names)

    chosen = [info for info in scope.mailboxes if is_meant(info.name)]
    failed = [lost for lost in scope.not_searched if is_meant(lost.name)]
    found = [info.name for info in chosen] + [lost.name for lost in failed]
    if servers.mailboxes or servers.not_searched:
        # A server was asked for each name, and says itself which it does not know.
        names = [want for want in names if "@" not in want]
    missing = [want for want in names if not any(n == want or n.endswith("/" + want) for n in found)]
    if missing:
        raise SourceUnavailable(
            f"no mailbox of these sources is called {', '.join(missing)}",
            hint="List what there is: excise mailboxes SOURCE",
        )
    scope.left_out = len(scope.mailboxes) - len(chosen)
    scope.mailboxes, scope.not_searched = chosen, failed
