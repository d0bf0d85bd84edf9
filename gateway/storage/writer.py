"""The one thread that writes: it takes what waits, and commits it as a group.

Rules:
- No timer: a group is whatever waits when the last commit ended, at most `store_batch_max` batches. The busier it is,
  the larger the groups.
- A batch is answered after its commit, and only then. Where its caller has gone meanwhile, it is written all the same.
- A batch that fails does not fail its neighbours: the group is taken back and done again with a savepoint for each.
- What waits is bounded in number and bytes; a full queue raises `StoreUnavailable` at once, and nothing was done.
- Where a commit fails, its callers are told `StoreUnavailable`, and before the next group the log's state is read again
  from the rows, since it may have been committed all the same.
- Where those rows do not fit their checkpoint, or the log's head can not be written, nothing more is written until a
  restart, which checks the whole log; `failed` is told, in this thread.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from carnet.core import limits
from carnet.core.errors import CarnetError, StoreUnavailable
from gateway.storage import changes
from gateway.storage.gathering import Gathering
from gateway.storage.operations import Batch, Written
from gateway.storage.records import Conflict
from gateway.storage.sequencer import LogDamaged, Sequencer, Staged

queue_bytes_max: Final = 128 * limits.MIB

_log = structlog.get_logger(__name__)

Outcome = Written | CarnetError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    batch: Batch
    weight: int
    future: asyncio.Future[Written]
    loop: asyncio.AbstractEventLoop


class Writer:
    """The queue and its thread. `engine` begins each transaction as a writing one."""

    def __init__(self, engine: Engine, sequencer: Sequencer, *, failed: Callable[[], None]) -> None:
        self._failed = failed
        self._engine = engine
        self._sequencer = sequencer
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._known = True
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def submit(self, batch: Batch) -> asyncio.Future[Written]:
        """The answer to come. Raises `StoreUnavailable` where the queue is full or closed. Call it on the loop."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(batch=batch, weight=batch.weight, future=loop.create_future(), loop=loop)
        with self._changed:
            if self._closing:
                raise StoreUnavailable(detail="the store is closed")
            if len(self._waiting) >= limits.store_queue_max or self._bytes + waiting.weight > queue_bytes_max:
                raise StoreUnavailable("The store is busy; try again.", detail="the write queue is full")
            self._waiting.append(waiting)
            self._bytes += waiting.weight
            self._changed.notify()
        return waiting.future

    def close(self) -> None:
        """Take nothing more, write what waits, and end the thread. Blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while group := self._next_group():
                _deliver(group, self._write(group))
        finally:
            self._stop()

    def _next_group(self) -> list[_Waiting]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), limits.store_batch_max))]
            self._bytes -= sum(waiting.weight for waiting in group)
        return group

    def _write(self, group: list[_Waiting]) -> Sequence[Outcome]:
        batches = [waiting.batch for waiting in group]
        try:
            if not self._known:
                self._reload()
            return self._commit(batches)
        except Exception as error:  # noqa: BLE001 - the root of this thread: it logs and fails closed
            _log.error("group not committed", action="write", error=type(error).__name__, batches=len(batches))
            self._known = False
            if isinstance(error, LogDamaged):
                self._fail()
            return [StoreUnavailable(detail=type(error).__name__) for _ in batches]

    def _reload(self) -> None:
        with self._engine.begin() as connection:
            self._sequencer.reload(connection)
        self._known = True

    def _commit(self, batches: list[Batch]) -> Sequence[Outcome]:
        try:
            return self._attempt(batches, apart=False)
        except (CarnetError, SQLAlchemyError, OverflowError) as error:
            if isinstance(error, OperationalError):
                raise
            return self._attempt(batches, apart=True)

    def _attempt(self, batches: list[Batch], *, apart: bool) -> Sequence[Outcome]:
        do = _apply_each if apart else _apply_all
        with self._engine.begin() as connection:
            outcomes = do(connection, batches)
            done = [batch for batch, outcome in zip(batches, outcomes, strict=True) if _applied(outcome)]
            staged = self._sequencer.stage(connection, [entry for batch in done for entry in batch.entries])
        self._settle(staged)
        return _with_leaves(batches, outcomes, staged)

    def _settle(self, staged: Staged) -> None:
        try:
            self._sequencer.settle(staged)
        except OSError as error:
            _log.error("head of the log not written", action="stop", error=error.strerror)
            self._fail()

    def _fail(self) -> None:
        self._stop()
        self._failed()

    def _stop(self) -> None:
        with self._changed:
            self._closing = True
            left, self._bytes = list(self._waiting), 0
            self._waiting.clear()
        _deliver(left, [StoreUnavailable(detail="the store has stopped") for _ in left])


def _apply_all(connection: Connection, batches: list[Batch]) -> list[Outcome]:
    gathering = Gathering(connection, batches)
    outcomes: list[Outcome] = []
    for batch in batches:
        found = changes.repeated(gathering, batch)
        outcomes.append(found or Written(jobs=changes.carry_out(gathering, batch)))
    gathering.flush()
    return outcomes


def _apply_each(connection: Connection, batches: list[Batch]) -> list[Outcome]:
    return [_apply_apart(connection, batch) for batch in batches]


def _apply_apart(connection: Connection, batch: Batch) -> Outcome:
    try:
        with connection.begin_nested():
            return _apply_all(connection, [batch])[0]
    except CarnetError as error:
        return error
    except OperationalError:
        raise
    except IntegrityError as error:
        return Conflict(detail=str(error.orig))
    except (SQLAlchemyError, OverflowError) as error:
        return StoreUnavailable(detail=type(error).__name__)


def _applied(outcome: Outcome) -> bool:
    return isinstance(outcome, Written) and outcome.applied


def _with_leaves(batches: list[Batch], outcomes: list[Outcome], staged: Staged) -> list[Outcome]:
    found, first = [], 0
    for batch, outcome in zip(batches, outcomes, strict=True):
        if isinstance(outcome, Written) and outcome.applied:
            last = first + len(batch.entries)
            outcome, first = replace(outcome, logged=staged.logged[first:last]), last
        found.append(outcome)
    return found


def _deliver(group: list[_Waiting], outcomes: Sequence[Outcome]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Written], Outcome]]] = {}
    for waiting, outcome in zip(group, outcomes, strict=True):
        by_loop.setdefault(waiting.loop, []).append((waiting.future, outcome))
    for loop, answers in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_answer, answers)


def _answer(answers: list[tuple[asyncio.Future[Written], Outcome]]) -> None:
    for future, outcome in answers:
        if future.done():
            continue
        if isinstance(outcome, Written):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)
