"""Candidates: whether a client wraps its key for a runner that the gateway shows. The client's own judgement, whole.

- The runner itself was vetted before (`carnet/vetting.py`); here decision, short list, facts and profile are held.
- What the signed decision does not say of this very card is not permitted; empty lists permit nothing.
"""

from collections.abc import Sequence

from carnet.core.errors import StatementInvalid
from carnet.core.facts import JobFacts
from carnet.core.runner import Isolation
from carnet.verdict import Decided
from carnet.vetting import VettedRunner


def check_candidate(runner: VettedRunner, decided: Decided, facts: JobFacts, *, template_digest: bytes) -> None:
    """Raise `StatementInvalid` unless decision, short list and the client's own list and profile allow this runner."""
    if runner.card.template_digest != template_digest:
        raise StatementInvalid("The runner works by another sandbox profile than the one that this client pinned.")
    if not decided.body.permits(runner.jurisdiction):
        raise StatementInvalid("The decision does not permit the runner's jurisdiction.")
    only = facts.constraints.only
    if only and runner.jurisdiction not in only and runner.jurisdiction[:2] not in only:
        raise StatementInvalid("The runner is outside the places that the facts allow.")
    if runner.jurisdiction in facts.constraints.never or runner.jurisdiction[:2] in facts.constraints.never:
        raise StatementInvalid("The runner is in a place that the facts exclude.")
    if runner.ownership.parent_country in facts.constraints.parent_never:
        raise StatementInvalid("The runner's operator belongs to a country that the facts exclude.")
    if not runner.card.isolation.at_least(Isolation(facts.constraints.isolation_min)):
        raise StatementInvalid("The runner's isolation is below what the facts ask for.")
    for entry in decided.record.shortlist:
        if (entry.spiffe_id, entry.card_digest) == (runner.spiffe_id, runner.card.digest):
            if entry.permitted and entry.jurisdiction == runner.jurisdiction:
                return
            break
    raise StatementInvalid("The signed decision does not permit this runner with this card.")


def check_own_key(runner: VettedRunner, others: Sequence[VettedRunner]) -> None:
    """Raise `StatementInvalid` where one of the others shows the same key: one of them would read the other's jobs."""
    if any(runner.key.kid == other.key.kid for other in others):
        raise StatementInvalid("The runner shows the key of another runner.")
