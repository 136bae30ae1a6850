"""Proving a case to others while it is worked on: checkpoints, time stamps, and the audit log's outside sinks."""

from __future__ import annotations

from excise.api.looking import Proof
from excise.case.chain import ChainedLog
from excise.case.checkpoint import is_current, make_checkpoint
from excise.case.layout import Case
from excise.case.sinks import Sinks, open_sink
from excise.core.text import count_of


def check_proof(proof: Proof) -> None:
    """A UsageError for an address or a sink that is none, before anything is made or opened."""
    for destination in proof.sinks:
        open_sink(destination, "")
    if proof.timestamp is not None:
        from excise.case.stamp_reading import require_library
        from excise.case.timestamp import check_url

        check_url(proof.timestamp)
        require_library()


class Proving:
    """What a ``Proof`` asks for, for one command on one case."""

    def __init__(self, case: Case, proof: Proof) -> None:
        """A UsageError for an address or a sink that is none."""
        check_proof(proof)
        self._case, self._proof = case, proof
        self.sinks = Sinks(proof.sinks, case.id)
        #: What was asked for and could not be had, for the person at the terminal.
        self.lacking: list[str] = []

    def before_removal(self, audit: ChainedLog) -> None:
        """The log's head is signed, stamped (or its request kept) and in every sink; else SourceUnavailable (S22)."""
        self._write_down(audit)
        self.sinks.require()

    def after(self, audit: ChainedLog) -> None:
        """The same at the end of a command, where a sink that took nothing is only told."""
        self._write_down(audit)
        for name, count in self.sinks.undelivered().items():
            error = self.sinks.errors[name]
            audit.append({"type": "sink-failed", "sink": name, "undelivered": count})
            self.lacking.append(
                f"{name}: {count_of(count, 'record')} of the audit log could not be sent there: {error}"
            )

    def _write_down(self, audit: ChainedLog) -> None:
        if self._proof.timestamp is None and self._proof.sign_key is None:
            return
        if not is_current(audit, self._proof.sign_key):
            make_checkpoint(self._case, audit, self._proof.sign_key)
        if self._proof.timestamp is not None:
            from excise.case.timestamp import stamp

            stamps = stamp(self._case, audit, self._proof.timestamp)
            self.lacking = [f"{each.name}: no time stamp yet: {each.problem}" for each in stamps if each.problem]
