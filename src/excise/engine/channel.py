"""How units of work report progress and are told to stop, in this process or in others.

``Channel`` is what a unit sees. ``run_units`` runs units through an executor and yields their results as they end:
processes where all stores are files, threads otherwise, in this thread where there is one unit or one job.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from excise.core.errors import ExciseError, Interrupted
from excise.core.files import os_error
from excise.store_api import registry

Task = TypeVar("Task")
Result = TypeVar("Result")


class Progress(Protocol):
    """Who shows progress."""

    def advance(self, messages: int, size: int, matches: int, mailboxes: int) -> None:
        """So much more has been done."""


class _Flag(Protocol):
    def is_set(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Channel:
    """One unit's line to the coordinator."""

    tell: Callable[[int, int, int, int], None]
    stop: _Flag

    def advance(self, messages: int, size: int) -> None:
        """Report messages and bytes passed."""
        self.tell(messages, size, 0, 0)

    def matched(self, count: int) -> None:
        """Report matches."""
        self.tell(0, 0, count, 0)

    def check(self) -> None:
        """At a safe point: raise Interrupted where the user asked to stop."""
        if self.stop.is_set():
            raise Interrupted("stopped by the user at a safe point")


@dataclass(frozen=True, slots=True)
class UnitError:
    """A unit that ended with an error instead of a result."""

    message: str
    exit_code: int


_channel: Channel | None = None


def _start_worker(reports: Any, stop: Any) -> None:
    """In a new worker process: leave Ctrl-C to the coordinator, die with it, and report through the queue."""
    global _channel
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    _channel = Channel(lambda *counts: reports.put(counts), stop)


def _die_with(parent: int) -> None:
    """End this process at once when the coordinator is gone: a killed run must not go on unseen."""
    while os.getppid() == parent:
        threading.Event().wait(0.2)
    os._exit(1)


def _work(function: Callable[[Task, Channel], Result], task: Task) -> Result:
    assert _channel is not None  # noqa: S101 - set by _start_worker in every worker
    return function(task, _channel)


def jobs_for(jobs: int, kinds: Iterable[str]) -> int:
    """How many units of stores of ``kinds`` to work on at once: ``jobs``, or where that is 0 what suits the stores."""
    return (
        jobs
        or max((registry.store(kind).capabilities.jobs for kind in set(kinds)), default=0)
        or len(os.sched_getaffinity(0))
    )


def run_units(
    function: Callable[[Task, Channel], Result],
    tasks: Sequence[Task],
    *,
    jobs: int,
    local: bool,
    progress: Progress,
    stop: threading.Event,
) -> Iterator[tuple[Task, Result | UnitError]]:
    """Run ``function`` on each task and yield task and result as they end.

    An ``ExciseError`` in a unit becomes a ``UnitError``: one mailbox's trouble never stops the others. When ``stop`` is
    set, running units end at their next safe point and those not begun do not begin.
    """
    if jobs <= 1 or len(tasks) <= 1:
        results = _in_turn(function, tasks, progress, stop)
    elif local:
        results = _in_processes(function, tasks, min(jobs, len(tasks)), progress, stop)
    else:
        results = _in_threads(function, tasks, min(jobs, len(tasks)), progress, stop)
    for task, result in results:
        progress.advance(0, 0, 0, 1)
        yield task, result


def _in_turn(
    function: Callable[[Task, Channel], Result], tasks: Sequence[Task], progress: Progress, stop: threading.Event
) -> Iterator[tuple[Task, Result | UnitError]]:
    channel = Channel(progress.advance, stop)
    for task in tasks:
        yield task, _NOT_BEGUN if stop.is_set() else _guarded(lambda task=task: function(task, channel))  # type: ignore[misc]


def _in_threads(
    function: Callable[[Task, Channel], Result],
    tasks: Sequence[Task],
    jobs: int,
    progress: Progress,
    stop: threading.Event,
) -> Iterator[tuple[Task, Result | UnitError]]:
    channel = Channel(progress.advance, stop)
    with ThreadPoolExecutor(jobs) as executor:
        yield from _collect(executor, lambda task: function(task, channel), tasks, stop)


def _in_processes(
    function: Callable[[Task, Channel], Result],
    tasks: Sequence[Task],
    jobs: int,
    progress: Progress,
    stop: threading.Event,
) -> Iterator[tuple[Task, Result | UnitError]]:
    context = multiprocessing.get_context("spawn")
    reports, shared_stop = context.Queue(), context.Event()
    done = threading.Event()

    def relay() -> None:
        while not done.is_set() or not reports.empty():
            if stop.is_set():
                shared_stop.set()
            with contextlib.suppress(queue.Empty):
                progress.advance(*reports.get(timeout=0.1))

    relayer = threading.Thread(target=relay, daemon=True)
    relayer.start()
    start = partial(ProcessPoolExecutor, mp_context=context, initializer=_start_worker, initargs=(reports, shared_stop))
    try:
        died = []
        with start(jobs) as executor:
            for task, result in _collect(executor, _Bound(function), tasks, stop):
                if result is _DIED:
                    died.append(task)
                else:
                    yield task, result
        # A worker that dies breaks the whole pool, and which task killed it is not known: each gets its own process.
        for task in died:
            with start(1) as executor:
                yield from _collect(executor, _Bound(function), [task], stop)
    finally:
        done.set()
        relayer.join()
        reports.close()


@dataclass(frozen=True, slots=True)
class _Bound:
    """``function`` bound to the worker's channel; a class, so that it crosses to the worker."""

    function: Callable[..., Any]

    def __call__(self, task: Any) -> Any:
        return _work(self.function, task)


def _collect(
    executor: Executor, function: Callable[[Task], Result], tasks: Sequence[Task], stop: threading.Event
) -> Iterator[tuple[Task, Result | UnitError]]:
    futures: dict[Future[Result], Task] = {executor.submit(function, task): task for task in tasks}
    for future in as_completed(futures):
        if stop.is_set():
            for other in futures:
                other.cancel()
        yield futures[future], _NOT_BEGUN if future.cancelled() else _guarded(future.result)


def _guarded(call: Callable[[], Result]) -> Result | UnitError:
    try:
        return call()
    except ExciseError as error:
        return UnitError(error.text(), error.exit_code)
    except BrokenProcessPool:
        return _DIED
    except OSError as error:
        told = os_error(error, error.filename or "a file", "reading or writing it")
        return UnitError(told.text(), told.exit_code)
    except Exception as error:  # noqa: BLE001 - counted and shown as this mailbox's failure; the others go on
        return UnitError(f"unexpected error, please report it: {type(error).__name__}: {error}", 1)


_NOT_BEGUN = UnitError("not begun: stopped by the user", Interrupted.exit_code)
_DIED = UnitError(
    "the process that worked on it died (killed, out of memory, or a crash in a library that reads it)", 1
)
