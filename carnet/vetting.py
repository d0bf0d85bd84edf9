"""A runner judged by what it and its operator signed; client and gateway use the same rules.

- The chain must lead to an anchor that the judge itself pinned; nothing is taken on the gateway's word.
- Status and ownership are the operator's, card and key statement the leaf's; each must be of this runner, valid now.
- What does not verify raises, with an error that names what was wrong; there is no half-vetted runner.

    runner = vet(presented, anchors=pins.operators, now_ns=now)
    runner.identity.id.jurisdiction, runner.key.kid
"""

from dataclasses import dataclass

from carnet import statements
from carnet.core import limits
from carnet.core.credential import Anchor, Identity, check_key_statement, check_ownership, check_status, judge_chain
from carnet.core.errors import CredentialInvalid, StatementInvalid
from carnet.core.runner import KeyStatement, Ownership, RunnerCard, RunnerFacts, RunnerStatus, facts
from carnet.core.statement import Signed
from carnet.v1 import jobs_pb2, runners_pb2
from carnet.wire import signed_from_proto, signed_to_proto


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """What a runner shows of itself: DER certificates, leaf first, and four signed statements."""

    chain: tuple[bytes, ...]
    status: Signed
    ownership: Signed
    card: Signed
    key_statement: Signed
    older_keys: tuple[Signed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VettedRunner:
    """A runner whose every statement verified, at the time that it was vetted."""

    presented: Presented
    identity: Identity
    status: RunnerStatus
    ownership: Ownership
    card: RunnerCard
    key: KeyStatement
    older_kids: frozenset[bytes] = frozenset()

    def opens(self, kid: bytes) -> bool:
        """Whether the runner's process still holds the private part of this key."""
        return kid == self.key.kid or kid in self.older_kids

    def check_fresh(self, *, now_ns: int) -> None:
        """Raise a `PeerError` where something that was good when it was shown is stale now: status, ownership, card."""
        if now_ns >= self.identity.not_after_ns:
            raise CredentialInvalid("The runner's certificate has expired.")
        check_status(self.status, self.identity, now_ns=now_ns)
        check_ownership(self.ownership, self.identity, now_ns=now_ns)
        check_card(self.card, self.identity, now_ns=now_ns)

    @property
    def spiffe_id(self) -> str:
        """The runner's name."""
        return self.key.spiffe_id

    @property
    def jurisdiction(self) -> str:
        """Where its certificate says that it stands."""
        return self.identity.id.jurisdiction

    @property
    def facts(self) -> RunnerFacts:
        """What stage 2 of policy hears of it."""
        return facts(
            spiffe_id=self.spiffe_id,
            jurisdiction=self.jurisdiction,
            trust_domain=self.identity.id.trust_domain,
            card=self.card,
            ownership=self.ownership,
        )


def vet(presented: Presented, *, anchors: tuple[Anchor, ...], now_ns: int) -> VettedRunner:
    """Judge all that a runner shows. Raises `PeerError`s: the chain, a signature, or what a statement says."""
    identity = judge_chain(presented.chain, anchors, now_ns=now_ns)
    status = statements.STATUS.open(presented.status, identity.issuer_key)
    check_status(status, identity, now_ns=now_ns)
    ownership = statements.OWNERSHIP.open(presented.ownership, identity.issuer_key)
    check_ownership(ownership, identity, now_ns=now_ns)
    key = statements.KEY_STATEMENT.open(presented.key_statement, identity.key)
    check_key_statement(key, identity, now_ns=now_ns)
    card = statements.CARD.open(presented.card, identity.key)
    check_card(card, identity, now_ns=now_ns)
    return VettedRunner(
        presented=presented,
        identity=identity,
        status=status,
        ownership=ownership,
        card=card,
        key=key,
        older_kids=_older_kids(presented, identity, now_ns=now_ns),
    )


def _older_kids(presented: Presented, identity: Identity, *, now_ns: int) -> frozenset[bytes]:
    opened = (statements.KEY_STATEMENT.open(signed, identity.key) for signed in presented.older_keys)
    name = str(identity.id)
    return frozenset(key.kid for key in opened if key.spiffe_id == name and now_ns < key.open_until_ns)


def check_card(card: RunnerCard, identity: Identity, *, now_ns: int) -> None:
    """Raise `StatementInvalid` unless the card is this runner's, and valid now."""
    if card.spiffe_id != str(identity.id):
        raise StatementInvalid("The card is another runner's.")
    skew_ns = limits.clock_skew_seconds_max * 10**9
    if not card.issued_ns - skew_ns <= now_ns < card.expires_ns:
        raise StatementInvalid("The card is not valid now.")


def presented_from(message: jobs_pb2.Candidate | runners_pb2.Credentials) -> Presented:
    """What a message shows of a runner; nothing is verified yet."""
    if sum(len(certificate) for certificate in message.chain) > limits.certificate_bytes_max * len(message.chain):
        raise CredentialInvalid("A certificate is too large.")
    return Presented(
        chain=tuple(message.chain),
        status=signed_from_proto(message.status),
        ownership=signed_from_proto(message.ownership),
        card=signed_from_proto(message.card),
        key_statement=signed_from_proto(message.key_statement),
        older_keys=tuple(signed_from_proto(s) for s in message.older_keys)
        if isinstance(message, runners_pb2.Credentials)
        else (),
    )


def credentials_of(presented: Presented) -> runners_pb2.Credentials:
    """The message in which a runner shows itself to the gateway."""
    return runners_pb2.Credentials(
        chain=list(presented.chain),
        status=signed_to_proto(presented.status),
        ownership=signed_to_proto(presented.ownership),
        card=signed_to_proto(presented.card),
        key_statement=signed_to_proto(presented.key_statement),
        older_keys=[signed_to_proto(signed) for signed in presented.older_keys],
    )


def candidate_of(presented: Presented, *, price_micro_usd: int) -> jobs_pb2.Candidate:
    """The message in which the gateway shows a runner to a client."""
    return jobs_pb2.Candidate(
        chain=list(presented.chain),
        status=signed_to_proto(presented.status),
        ownership=signed_to_proto(presented.ownership),
        card=signed_to_proto(presented.card),
        key_statement=signed_to_proto(presented.key_statement),
        price_micro_usd=price_micro_usd,
    )
