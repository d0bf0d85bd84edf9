"""Rows that a group inserts, kept back so that each table is written once a group.

Rules:
- What the group's batches must know of each other is here: the jobs and requests that they name, read with one query
  each before the first batch, and kept up with what the batches do.
- `connection` first writes what was kept back: who looks at rows sees all that was done before. `untouched` is for
  statements on rows that are not among them.
- `flush` is called before the end of the transaction (or savepoint); a contradiction shows there at the latest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Table, insert

from gateway.storage import policytables, queries
from gateway.storage.operations import Batch, InsertJob, RememberRequest
from gateway.storage.records import JobKey, StoredJob
from gateway.storage.rows import Cells

_ORDER: Final = tuple(policytables.exemptions.metadata.sorted_tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A request that was done."""

    body_digest: bytes
    response: bytes
    created_ns: int


class Gathering:
    """The state of one group, or of one batch that is done apart."""

    def __init__(self, connection: Connection, batches: Sequence[Batch]) -> None:
        self.untouched = connection
        operations = [operation for batch in batches for operation in batch.operations]
        inserts = {operation.job.key for operation in operations if isinstance(operation, InsertJob)}
        asked = {(o.tenant_id, o.request_id) for o in operations if isinstance(o, RememberRequest)}
        self.jobs: dict[JobKey, StoredJob] = {job.key: job for job in queries.jobs_named(connection, inserts)}
        self.requests: dict[tuple[bytes, bytes], Remembered] = {
            name: Remembered(body_digest=digest, response=response, created_ns=created_ns)
            for name, digest, response, created_ns in queries.requests_named(connection, asked)
        }
        self.decisions: set[bytes] = set()
        self.lines: set[bytes] = set()
        self._rows: dict[Table, list[Cells]] = {}

    @property
    def connection(self) -> Connection:
        """The connection, with everything written that was kept back."""
        self.flush()
        return self.untouched

    def add(self, table: Table, *cells: Cells) -> None:
        """Insert these rows, later."""
        if cells:
            self._rows.setdefault(table, []).extend(cells)

    def keeps(self, table: Table) -> bool:
        """Whether rows of this table are kept back."""
        return table in self._rows

    def flush(self) -> None:
        """Write what was kept back, parents first."""
        if self._rows:
            kept, self._rows = self._rows, {}
            for table in _ORDER:
                if table in kept:
                    self.untouched.execute(insert(table), kept[table])
