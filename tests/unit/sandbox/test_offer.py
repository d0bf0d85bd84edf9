"""What a runner holds an offer against, before anything is opened."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from carnet.core import limits
from carnet.core.decision import RunnerObligation
from carnet.core.errors import CarnetError, FieldInvalid, ImageNotAllowed, Refused, StatementInvalid
from carnet.core.runner import Isolation
from carnet.outbox import SealedJob
from carnet.v1 import runners_pb2
from sandbox.agent import offer_from
from sandbox.offer import AcceptedOffer, Memory, Self, judge_offer
from tests.fixtures.parties import SECOND, Parties, facts


def judge(
    parties: Parties,
    offer: runners_pb2.Offer,
    *,
    memory: Memory | None = None,
    runner: Self | None = None,
    after: int = 0,
) -> AcceptedOffer:
    return judge_offer(
        offer_from(offer),
        runner=runner or parties.runners["FR"].self,
        pins=parties.pins,
        memory=memory if memory is not None else Memory(),
        now_ns=parties.clock() + after,
    )


@pytest.fixture(scope="module")
def job(parties: Parties) -> SealedJob:
    return parties.sealed("FR", "DE")


def offered(parties: Parties, job: SealedJob, **changes: Any) -> runners_pb2.Offer:
    runner = parties.runners["FR"]
    return parties.voice.offer(job, runner, parties.voice.dispatch(job, runner, **changes))


def test_an_honest_offer_is_accepted(parties: Parties, job: SealedJob) -> None:
    accepted = judge(parties, offered(parties, job))
    assert accepted.manifest == job.manifest
    assert accepted.addendum_digest is None
    assert accepted.grant.attempt == 1


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"permit": {"manifest_digest": bytes(32)}}, "manifest"),
        ({"permit": {"facts_digest": bytes(32)}}, "facts"),
        ({"permit": {"card_digest": bytes(32)}}, "card"),
        ({"permit": {"jurisdiction": "DE"}}, "jurisdiction"),
        ({"permit": {"prepare_decision_digest": bytes(32)}}, "decision"),
        ({"permit": {"valid_until_ns": 1}}, "valid"),
        ({"grant": {"manifest_digest": bytes(32)}}, "manifest"),
        ({"grant": {"permit_digest": bytes(32)}}, "permit"),
        ({"grant": {"checkpoint": b"another"}}, "checkpoint"),
        ({"grant": {"attempt": 3}}, "attempt"),
        ({"leaf": {"permit": bytes(32)}}, "permit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_attack_a_well_signed_offer_that_does_not_fit_itself(
    parties: Parties, job: SealedJob, changes: dict[str, Any], what: str
) -> None:
    with pytest.raises(StatementInvalid, match=what):
        judge(parties, offered(parties, job, **changes))


def test_attack_an_attempt_that_was_seen_before(parties: Parties, job: SealedJob) -> None:
    memory = Memory()
    first, second = offered(parties, job), offered(parties, job, attempt=2)
    memory.note(judge(parties, second, memory=memory))
    for late in (first, second):
        with pytest.raises(StatementInvalid, match="seen before"):
            judge(parties, late, memory=memory)
    judge(parties, first)  # the control: another memory has not seen it


def test_what_can_not_be_offered_any_more_is_forgotten(parties: Parties, job: SealedJob) -> None:
    memory = Memory()
    memory.note(judge(parties, offered(parties, job), memory=memory))
    until_ns = job.manifest.not_after_ns + limits.clock_skew_seconds_max * SECOND
    memory.forget(now_ns=until_ns - 1)
    assert memory.attempts
    memory.forget(now_ns=until_ns)
    assert not memory.attempts


@pytest.mark.parametrize(
    ("card", "error"),
    [
        ({"cpu_millis": 10}, FieldInvalid),
        ({"memory_bytes": 16 * limits.MIB}, FieldInvalid),
        ({"work_bytes": limits.MIB}, FieldInvalid),
        ({"images": ("sha256:" + "0" * 64,)}, ImageNotAllowed),
        ({"template_digest": bytes(32)}, StatementInvalid),
    ],
    ids=["cpu", "memory", "disk", "image", "profile"],
)
def test_a_job_that_this_runner_can_not_honour_is_refused(
    parties: Parties, job: SealedJob, card: dict[str, Any], error: type[CarnetError]
) -> None:
    offer, self = offered(parties, job), parties.runners["FR"].self
    changed = replace(self.card, **card)
    shown = offered(parties, job, permit={"card_digest": changed.digest})
    with pytest.raises(error):
        judge(parties, shown, runner=replace(self, card=changed))
    judge(parties, offer)


def test_isolation_below_what_the_permit_asks_for_is_refused(parties: Parties, job: SealedJob) -> None:
    stronger = next(level for level in Isolation if not Isolation.CONTAINER.at_least(level))
    obligation = RunnerObligation(type="isolation_min", number=0, word=str(stronger))
    with pytest.raises(Refused):
        judge(parties, offered(parties, job, permit={"obligations": (obligation,)}))


Change = Callable[[runners_pb2.Offer], None]


def cut(name: str) -> Change:
    def change(offer: runners_pb2.Offer) -> None:
        statement = getattr(offer, name)
        statement.payload = statement.payload[:-1] + bytes([statement.payload[-1] ^ 1])

    return change


@pytest.mark.parametrize("name", ["tenant_key_set", "manifest", "permit", "grant"])
def test_attack_a_statement_that_was_changed_after_it_was_signed(parties: Parties, job: SealedJob, name: str) -> None:
    offer = offered(parties, job)
    cut(name)(offer)
    with pytest.raises(CarnetError) as refused:
        judge(parties, offer)
    assert refused.value.reason == "SIGNATURE_INVALID"


def test_a_manifest_that_has_expired_is_refused(parties: Parties, job: SealedJob) -> None:
    with pytest.raises(StatementInvalid):
        judge(parties, offered(parties, job), after=25 * 3600 * SECOND)


def test_a_job_wrapped_for_others_is_refused(parties: Parties) -> None:
    job = parties.sealed("DE", data=facts())
    with pytest.raises(CarnetError):
        judge(parties, offered(parties, job))
