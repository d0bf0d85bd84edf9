"""Evidence: what this host can show of itself: its chain, its operator's statements, and the card that it signs.

- The operator signs status anew every few minutes into a file; `refresh` reads it again and says whether it changed.
- The card holds what the probe showed, never what the configuration hopes for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from carnet import statements
from carnet.core import limits
from carnet.core.certificate import LeafKind, judge_leaf
from carnet.core.runner import RunnerCard
from carnet.core.spiffe import RunnerId
from carnet.core.statement import Signed, Signer
from carnet.tls import chain_from_pem, read_private_key
from carnet.vetting import Presented
from carnet.wire import signed_from_bytes
from sandbox.config import RunnerConfig
from sandbox.epoch import EpochKeys
from sandbox.offer import Self
from sandbox.probe import IsolationFacts

VERSION: Final = "0.1.0"
SECOND: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """The runner's certificate chain, name, and key."""

    chain: tuple[bytes, ...]
    id: RunnerId
    not_after_ns: int
    signer: Signer


def read_leaf(config: RunnerConfig, *, now_ns: int) -> Leaf:
    """Read chain and key. Raises `CredentialInvalid`."""
    chain = chain_from_pem(config.chain.read_bytes())
    leaf = judge_leaf(chain[0], LeafKind.RUNNER, now_ns=now_ns)
    return Leaf(
        chain=chain,
        id=RunnerId.parse(str(leaf.id)),
        not_after_ns=leaf.not_after_ns,
        signer=Signer.from_pem(read_private_key(config.key)),
    )


class Evidence:
    """All that the runner shows. `refresh` first reads the operator's files."""

    def __init__(
        self, config: RunnerConfig, leaf: Leaf, keys: EpochKeys, facts: IsolationFacts, *, clock: Callable[[], int]
    ) -> None:
        self._config = config
        self._leaf = leaf
        self._keys = keys
        self._files = (b"", b"")
        self._card, self._signed_card = _card(config, leaf, facts, now_ns=clock())
        self.refresh()

    @property
    def self(self) -> Self:
        """The runner's name, place and card."""
        return Self(spiffe_id=str(self._leaf.id), jurisdiction=self._leaf.id.jurisdiction, card=self._card)

    def refresh(self) -> bool:
        """Read the operator's statements again. True where they changed."""
        before = self._files
        self._files = (_read(self._config.status), _read(self._config.ownership))
        return self._files != before

    def presented(self) -> Presented:
        """What to show to the gateway now."""
        return Presented(
            chain=self._leaf.chain,
            status=signed_from_bytes(self._files[0]),
            ownership=signed_from_bytes(self._files[1]),
            card=self._signed_card,
            key_statement=self._keys.current,
            older_keys=self._keys.older,
        )


def _card(config: RunnerConfig, leaf: Leaf, facts: IsolationFacts, *, now_ns: int) -> tuple[RunnerCard, Signed]:
    unsigned = RunnerCard(
        payload=b"",
        spiffe_id=str(leaf.id),
        issued_ns=now_ns,
        expires_ns=min(leaf.not_after_ns, now_ns + limits.leaf_seconds_max * SECOND),
        agent_version=VERSION,
        slots=config.slots,
        cpu_millis=config.cpu_millis,
        memory_bytes=config.memory_bytes,
        work_bytes=config.work_bytes,
        devices=(),
        isolation=facts.isolation,
        isolation_facts=facts.lines(),
        template_digest=facts.template_digest,
        images=tuple(sorted(config.images)),
        price_micro_usd_second=config.price_micro_usd_second,
    )
    return statements.CARD.sign(unsigned, leaf.signer)


def _read(path: Path) -> bytes:
    data = path.read_bytes()
    signed_from_bytes(data)
    return data
