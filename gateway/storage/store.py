"""The store: what the gateway knows, durable, behind one small Protocol.

Promises:
- `write` answers after its commit: the batch is on disk then, all of it, and its leaves are in the audit log under a
  signed checkpoint. An error means that nothing of it was done, but for `StoreUnavailable`, after which the caller must
  ask (a batch that remembers its request or inserts its job can be sent again as it is).
- `read` sees all that was answered before it was called. Nothing blocks the event loop.
- One gateway process a SQLite file: a second one is refused.

    store = await SqliteStore.open(path, origin="gateway.example/log", log_key=key)
    written = await store.write(Batch(operations=(...), entries=(...)))
    job = await store.job(key)
    page = await store.read(queries.jobs_of, tenant_id, limit=50)
    await store.close()
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from carnet.core import limits
from carnet.core.errors import StoreUnavailable
from carnet.core.job import JobState
from gateway.storage import queries
from gateway.storage.loghead import LogHead
from gateway.storage.operations import Batch, Written
from gateway.storage.records import JobDocuments, JobKey, SealedWrap, StoredAttempt, StoredDecision, StoredJob
from gateway.storage.sequencer import Sequencer
from gateway.storage.writer import Writer

readers_default: Final = 4
_busy_ms: Final = 5000

P = ParamSpec("P")
T = TypeVar("T")
Query = Callable[Concatenate[Connection, P], T]


class Store(Protocol):
    """Where the gateway keeps what it knows. The promises are this module's; the named reads are `read` in short."""

    async def write(self, batch: Batch) -> Written:
        """Do a batch, durable. Raises `Conflict`, `JobIdTaken`, `RequestIdReused`, `StoreUnavailable`, ..."""

    async def read(self, query: Query[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask one query of `gateway/storage/queries.py`, at one moment. Raises `StoreUnavailable`."""

    async def close(self) -> None:
        """Write what waits, and let go of everything."""

    async def job(self, key: JobKey) -> StoredJob | None:
        """One job."""
        return await self.read(queries.job, key)

    async def documents(self, key: JobKey) -> JobDocuments | None:
        """What came with a job, and its addenda."""
        return await self.read(queries.documents, key)

    async def decision(self, digest: bytes) -> StoredDecision | None:
        """The decision with this record digest."""
        return await self.read(queries.decision, digest)

    async def attempt(self, key: JobKey, number: int) -> StoredAttempt | None:
        """One attempt of a job."""
        return await self.read(queries.attempt, key, number)

    async def wrap(self, key: JobKey, kid: bytes) -> SealedWrap | None:
        """A job's sealed wrap for one key id."""
        return await self.read(queries.wrap, key, kid)

    async def jobs_in_states(self, states: Collection[JobState]) -> list[StoredJob]:
        """Every job of all tenants that is in one of these states: for recovery."""
        found = list(await self.read(queries.jobs_in_states, states))
        page = found
        while len(page) == limits.page_size_max:
            page = list(await self.read(queries.jobs_in_states, states, after=page[-1].key))
            found += page
        return found


class SqliteStore(Store):
    """The store in one SQLite file: WAL, every commit synced to disk, one writer, a few readers."""

    def __init__(
        self, path: Path, *, sequencer: Sequencer, lock: int, readers: int, failed: Callable[[], None]
    ) -> None:
        self._lock = lock
        self._sequencer = sequencer
        self._write_engine = _engine(path, begin="BEGIN IMMEDIATE", connections=1)
        self._read_engine = _engine(path, begin="BEGIN", connections=readers)
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="store-reader")
        self._writer = Writer(self._write_engine, sequencer, failed=failed)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        origin: str,
        log_key: Ed25519PrivateKey,
        head: Path | None = None,
        readers: int = readers_default,
        failed: Callable[[], None] = lambda: None,
    ) -> "SqliteStore":
        """Open or make the store at `path`, bring its tables forward, and check its log.

        `head` is the log's head file, beside the database by default; keep it out of the database's backups. `failed`
        is called, from a thread, where nothing will be written any more before a restart. Raises `StoreUnavailable`
        where another process has the store, and `LogDamaged` where the log does not fit.
        """
        sequencer = Sequencer(origin=origin, key=log_key, head=LogHead(head or path.with_name(path.name + ".head")))
        return await asyncio.to_thread(cls._opened, path, sequencer, readers, failed)

    async def write(self, batch: Batch) -> Written:
        """Do a batch, durable."""
        # Shielded: a caller that goes away does not take its batch back.
        return await asyncio.shield(self._writer.submit(batch))

    async def read(self, query: Query[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask one query, at one moment, in a reader's thread."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._readers, partial(self._ask, query, *args, **kwargs))
        except (SQLAlchemyError, RuntimeError) as error:
            raise StoreUnavailable(detail=type(error).__name__) from error

    async def close(self) -> None:
        """Write what waits, and let go of everything."""
        await asyncio.to_thread(self._close)

    @classmethod
    def _opened(cls, path: Path, sequencer: Sequencer, readers: int, failed: Callable[[], None]) -> "SqliteStore":
        lock = _locked(path)
        store = cls(path, sequencer=sequencer, lock=lock, readers=readers, failed=failed)
        try:
            _make(path)
            with store._write_engine.begin() as connection:
                _migrate(connection)
            with store._write_engine.begin() as connection:
                sequencer.open(connection)
        except (OSError, SQLAlchemyError, CommandError) as error:
            store._release()
            raise StoreUnavailable(detail=f"the store can not be opened: {type(error).__name__}") from error
        except StoreUnavailable:
            store._release()
            raise
        store._writer.start()
        return store

    def _ask(self, query: Query[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._read_engine.connect() as connection:
            return query(connection, *args, **kwargs)

    def _close(self) -> None:
        self._writer.close()
        self._release()

    def _release(self) -> None:
        self._readers.shutdown()
        self._read_engine.dispose()
        self._write_engine.dispose()
        self._sequencer.close()
        os.close(self._lock)


def _engine(path: Path, *, begin: str, connections: int) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,
        pool_reset_on_return="rollback",
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        assert isinstance(connection, sqlite3.Connection)
        _set_up(connection)

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _set_up(connection: sqlite3.Connection) -> None:
    # sqlite3 must not begin transactions by itself: it would do so too late for savepoints and for DDL.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={_busy_ms}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "trusted_schema=OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _make(path: Path) -> None:
    """Make the file before SQLite does, for its owner alone; SQLite gives its journals the same mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _locked(path: Path) -> int:
    try:
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(detail="the store's folder can not be written") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StoreUnavailable("Another gateway has this store.", detail="the store's lock is held") from error
    return lock
