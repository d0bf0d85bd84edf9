"""Epoch keys: what jobs are wrapped for. The private parts live in this process's memory and nowhere else.

- A key is sealed to for an hour, and opened with for as long as a job may wait; then its seed is wiped.
- The next key is made at half of the sealing time, so that a client always finds one with time left.
- A restarted runner has none of the old keys: it opens no old wrap, and its jobs go on elsewhere.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from carnet import statements
from carnet.core import limits
from carnet.core.errors import RecipientKeyExpired
from carnet.core.hybrid import HybridPrivateKey
from carnet.core.root import wipe
from carnet.core.runner import KeyStatement
from carnet.core.statement import Signed, Signer

SECOND: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One key with its statement."""

    seed: bytearray
    statement: KeyStatement
    signed: Signed


class EpochKeys:
    """The keys of one runner process, newest first. `leaf` signs the statements; they end with its certificate."""

    def __init__(self, leaf: Signer, *, spiffe_id: str, leaf_until_ns: int, clock: Callable[[], int]) -> None:
        self._leaf = leaf
        self._spiffe_id = spiffe_id
        self._leaf_until_ns = leaf_until_ns
        self._clock = clock
        self._epochs: list[Epoch] = [self._make()]

    @property
    def current(self) -> Signed:
        """The statement to seal to."""
        return self._epochs[0].signed

    @property
    def older(self) -> tuple[Signed, ...]:
        """Statements of keys that can still be opened with."""
        return tuple(epoch.signed for epoch in self._epochs[1:])

    def turn(self) -> bool:
        """Make the next key when it is time, and wipe what may not be opened any more. True where something changed."""
        now_ns = self._clock()
        before = len(self._epochs)
        half_ns = (self._epochs[0].statement.not_before_ns + self._epochs[0].statement.seal_until_ns) // 2
        # A certificate that has ended signs nothing more: there is no next key then.
        made = half_ns <= now_ns < self._leaf_until_ns
        if made:
            self._epochs.insert(0, self._make())
        for epoch in self._epochs:
            if now_ns >= epoch.statement.open_until_ns:
                wipe(epoch.seed)
        self._epochs = [e for i, e in enumerate(self._epochs) if i == 0 or now_ns < e.statement.open_until_ns]
        return made or len(self._epochs) != before

    def private(self, kid: bytes) -> HybridPrivateKey:
        """The private part of a key. Raises `RecipientKeyExpired` where this process does not hold it."""
        for epoch in self._epochs:
            if epoch.statement.kid == kid and self._clock() < epoch.statement.open_until_ns:
                return HybridPrivateKey.from_seed(bytes(epoch.seed))
        raise RecipientKeyExpired

    def _make(self) -> Epoch:
        now_ns = self._clock()
        seed = bytearray(secrets.token_bytes(limits.hybrid_seed_bytes))
        unsigned = KeyStatement(
            payload=b"",
            spiffe_id=self._spiffe_id,
            leaf_key_digest=self._leaf.keyid,
            public=HybridPrivateKey.from_seed(bytes(seed)).public,
            not_before_ns=now_ns,
            seal_until_ns=min(now_ns + limits.seal_seconds_max * SECOND, self._leaf_until_ns),
            open_until_ns=now_ns + limits.open_seconds_max * SECOND,
        )
        statement, signed = statements.KEY_STATEMENT.sign(unsigned, self._leaf)
        return Epoch(seed=seed, statement=statement, signed=signed)
