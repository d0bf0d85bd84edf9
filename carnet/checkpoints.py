"""What a process has seen of the audit log, for as long as it lives: a log that is rolled back or split is noticed.

- Two roots for one size are two histories, whenever they were shown.
- A proof made for a request is under a checkpoint at least as new as the newest that was seen before the request went
  out. One that is older by its nature (the checkpoint of a grant) is held against the roots alone.
- A client holds what it is shown against `SeenLog`. A runner asks for nothing: each checkpoint that it is offered must
  be at least as new as the newest that it has seen (`SeenCheckpoints`; the gateway makes a runner's offers in order).
- The caller gets: the gateway did not take back what this process saw. It does not get that what lies between two sizes
  was kept as it was, nor that others see the same log.

    before = seen.size
    entry = seen.open(logged, at_least=before)
"""

from typing import Final

from carnet.core.checkpoint import Checkpoint
from carnet.core.errors import ProofInvalid
from carnet.pins import GatewayPins
from carnet.verdict import open_logged
from carnet.wire import AuditEntry, Logged

roots_max: Final = 4096


class SeenCheckpoints:
    """The checkpoints that were shown; `size` is that of the newest, in leaves."""

    def __init__(self) -> None:
        self._roots: dict[int, bytes] = {}
        self.size = 0

    def see(self, checkpoint: Checkpoint, *, at_least: int = 0) -> None:
        """Take in a checkpoint whose signature was verified. Raises `ProofInvalid` where the log was rolled back."""
        if self._roots.get(checkpoint.size, checkpoint.root) != checkpoint.root:
            raise ProofInvalid("The log shows two histories: another root for a size that was seen before.")
        if checkpoint.size < at_least:
            raise ProofInvalid("The log was rolled back: it is smaller than it was before.")
        self._roots[checkpoint.size] = checkpoint.root
        self.size = max(self.size, checkpoint.size)
        if len(self._roots) > roots_max:
            del self._roots[next(iter(self._roots))]


class SeenLog(SeenCheckpoints):
    """The log as one client was shown it."""

    def __init__(self, pins: GatewayPins) -> None:
        super().__init__()
        self._pins = pins

    def open(self, logged: Logged, *, at_least: int = 0) -> AuditEntry:
        """Prove an entry, and hold its checkpoint against all that was seen. Raises `ProofInvalid`."""
        entry, checkpoint = open_logged(logged, pins=self._pins)
        self.see(checkpoint, at_least=at_least)
        return entry
