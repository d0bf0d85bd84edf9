"""The judge: asks, signs, and only ever narrows."""

from dataclasses import replace

import pytest

from carnet import statements
from carnet.core import limits
from carnet.core.decision import RunnerVerdict, Verdict, check_record, parse_body
from carnet.core.errors import NoCapacity, PolicyDenied, PolicyEngineUnavailable
from carnet.core.facts import parse_facts
from carnet.core.placement import Cause
from carnet.core.runner import RunnerFacts
from gateway.judge import Judge, NothingLeft, RunnerDenied
from gateway.roster import Presence, Roster
from policy.engine import JobQuery
from tests.bench.support.fleet import offers
from tests.fixtures.broker import REQUESTER, ScriptedPolicy
from tests.fixtures.parties import Parties, body, facts

FACTS = parse_facts(facts())


@pytest.fixture
def policy() -> ScriptedPolicy:
    return ScriptedPolicy("DE", "FR")


@pytest.fixture
def judge(parties: Parties, policy: ScriptedPolicy) -> Judge:
    return Judge(policy, parties.voice.signer, clock=parties.clock)


def roster(parties: Parties) -> Roster:
    found = Roster()
    for place in parties.runners:
        presence = Presence(runner=parties.runners[place].vetted(parties.pins))
        presence.active, presence.slots_said = True, 1
        found.attach(presence)
    return found


async def test_a_decision_is_signed_over_facts_body_and_short_list(parties: Parties, judge: Judge) -> None:
    attached = roster(parties).offers(now_ns=parties.clock())
    made = await judge.prepare(FACTS, REQUESTER, attached, tenant_id=bytes(16))
    record = statements.DECISION.open(made.signed, parties.voice.signer.verifying_key())
    check_record(record, made.body, facts_digest=FACTS.digest, now_ns=parties.clock())
    assert {entry.jurisdiction for entry in record.shortlist if entry.permitted} == {"DE", "FR"}
    assert {match.offer.facts.jurisdiction for match in made.placement.matched} == {"DE", "FR"}


async def test_the_signed_record_names_the_unverified_rows_of_all_runners_once(
    parties: Parties, judge: Judge, policy: ScriptedPolicy
) -> None:
    key = parties.voice.signer.verifying_key()
    offers = roster(parties).offers(now_ns=parties.clock())
    plain = await judge.prepare(FACTS, REQUESTER, offers, tenant_id=bytes(16))
    assert statements.DECISION.open(plain.signed, key).unverified_rows_used == ()
    policy.rows = {"DE": ("b/2", "a/1"), "FR": ("b/2",)}
    made = await judge.prepare(FACTS, REQUESTER, offers, tenant_id=bytes(16))
    assert statements.DECISION.open(made.signed, key).unverified_rows_used == ("a/1", "b/2")
    cut = replace(made.record, unverified_rows_used=())
    assert statements.DECISION.sign(cut, parties.voice.signer)[0].digest != made.record.digest, "they are signed"


async def test_a_denial_is_signed_too_and_names_nobody(parties: Parties, judge: Judge, policy: ScriptedPolicy) -> None:
    policy.places = ()
    attached = roster(parties).offers(now_ns=parties.clock())
    made = await judge.prepare(FACTS, REQUESTER, attached, tenant_id=bytes(16))
    assert made.body.verdict is Verdict.DENY
    assert made.record.shortlist == ()
    assert policy.asked == ["decide"]


async def test_a_runner_that_is_named_is_judged_whatever_is_in_its_way_and_no_other_is(
    parties: Parties, judge: Judge, policy: ScriptedPolicy
) -> None:
    attached = roster(parties).offers(now_ns=parties.clock())
    name = next(offer.facts.spiffe_id for offer in attached if offer.facts.jurisdiction == "US")
    made = await judge.prepare(FACTS, REQUESTER, attached, tenant_id=bytes(16), explain=(name,))
    assert {verdict.jurisdiction for verdict in made.verdicts} == {"DE", "FR", "US"}
    assert {match.offer.facts.jurisdiction for match in made.placement.matched} == {"DE", "FR"}
    causes = {r.spiffe_id: [o.cause for o in r.obstacles] for r in made.placement.rejected}
    assert causes[name] == [Cause.JURISDICTION_NOT_PERMITTED, Cause.RUNNER_DENIED]
    policy.places = ()
    denied = await judge.prepare(FACTS, REQUESTER, attached, tenant_id=bytes(16), explain=(name,))
    assert [verdict.spiffe_id for verdict in denied.verdicts] == [name]
    assert [rejection.spiffe_id for rejection in denied.placement.rejected] == [name]
    assert denied.placement.matched == ()


@pytest.mark.parametrize("count", [1, 40, 2_000])
async def test_the_engine_is_asked_twice_however_many_runners_there_are(
    parties: Parties, judge: Judge, policy: ScriptedPolicy, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    judged = []
    honest = policy.judge

    async def counting(query: JobQuery, runners: tuple[RunnerFacts, ...]) -> tuple[RunnerVerdict, ...]:
        judged.append(len(runners))
        return await honest(query, runners)

    monkeypatch.setattr(policy, "judge", counting)
    like = parties.runners["FR"].vetted(parties.pins).facts
    made = await judge.prepare(FACTS, REQUESTER, offers(count, like=like, now_ns=parties.clock()), tenant_id=bytes(16))
    assert policy.asked == ["decide", "judge"]
    assert judged == [min(count, limits.shortlist_max)]
    assert len(made.placement.matched) == min(count, limits.recipients_max)


async def test_no_answer_is_no_permission(parties: Parties, judge: Judge, policy: ScriptedPolicy) -> None:
    policy.down = True
    with pytest.raises(PolicyEngineUnavailable):
        await judge.prepare(FACTS, REQUESTER, (), tenant_id=bytes(16))


@pytest.mark.parametrize(
    ("prepared", "today", "refused", "error"),
    [
        (("DE", "FR"), ("DE", "FR"), False, None),
        (("DE", "FR"), (), False, PolicyDenied),
        (("DE", "FR"), ("DE",), False, RunnerDenied),
        (("DE",), ("DE", "FR"), False, RunnerDenied),
        (("DE",), ("FR",), False, PolicyDenied),
        (("DE", "FR"), ("DE", "FR"), True, RunnerDenied),
    ],
    ids=["permits", "denies all", "narrower", "wider is not taken", "nothing in common", "this runner"],
)
async def test_a_re_check_permits_what_both_decisions_permit(
    parties: Parties,
    judge: Judge,
    policy: ScriptedPolicy,
    prepared: tuple[str, ...],
    today: tuple[str, ...],
    refused: bool,
    error: type[PolicyDenied] | None,
) -> None:
    runner = parties.runners["FR"].vetted(parties.pins)
    policy.places = today
    policy.refused = {runner.spiffe_id} if refused else set()
    asked = judge.recheck(
        FACTS,
        REQUESTER,
        runner,
        prepared=parse_body(body(*prepared)),
        prepared_digest=b"p" * 32,
        manifest_digest=b"m" * 32,
        tenant_id=bytes(16),
    )
    if error is not None:
        with pytest.raises(error) as caught:
            await asked
        assert type(caught.value) is error
        return
    passage = await asked
    permit = statements.PERMIT.open(passage.signed_permit, parties.voice.signer.verifying_key())
    assert (permit.spiffe_id, permit.jurisdiction) == (runner.spiffe_id, "FR")
    assert (permit.card_digest, permit.record_digest) == (runner.card.digest, passage.record.digest)
    assert permit.prepare_decision_digest == b"p" * 32
    assert permit.valid_until_ns <= passage.body.valid_until_ns


async def test_a_decision_whose_two_stages_are_of_two_revisions_is_none(
    parties: Parties, judge: Judge, policy: ScriptedPolicy
) -> None:
    attached = roster(parties).offers(now_ns=parties.clock())
    runner = parties.runners["FR"].vetted(parties.pins)
    again = {"prepared": parse_body(body("FR")), "prepared_digest": b"p" * 32, "manifest_digest": b"m" * 32}
    assert await judge.prepare(FACTS, REQUESTER, attached, tenant_id=bytes(16)), "the control"
    policy.changes_at = "judge"
    with pytest.raises(PolicyEngineUnavailable):
        await judge.prepare(FACTS, REQUESTER, attached, tenant_id=bytes(16))
    with pytest.raises(PolicyEngineUnavailable):
        await judge.recheck(FACTS, REQUESTER, runner, tenant_id=bytes(16), **again)


async def test_a_job_that_is_handed_in_is_weighed_with_every_runner_that_it_may_be_sealed_for(
    parties: Parties, judge: Judge, policy: ScriptedPolicy
) -> None:
    names = {place: runner.name for place, runner in parties.runners.items()}
    runners = roster(parties).facts_of([names["DE"], names["FR"]], now_ns=parties.clock())
    prepared = parse_body(body("DE", "FR"))
    weighed = await judge.weigh(FACTS, REQUESTER, runners, prepared=prepared)
    weighed.check([names["DE"], names["FR"]])
    assert policy.asked == ["decide", "judge"]
    policy.refused = {names["FR"]}
    weighed = await judge.weigh(FACTS, REQUESTER, runners, prepared=prepared)
    weighed.check([names["DE"]])
    with pytest.raises(NothingLeft):
        weighed.check([names["DE"], names["FR"]])
    with pytest.raises(NoCapacity):
        weighed.check([names["US"]])
    policy.refused, policy.places = set(), ("DE",)
    assert (await judge.weigh(FACTS, REQUESTER, runners, prepared=prepared)).permitted == {names["DE"]}
    policy.places = ("FR",)
    with pytest.raises(NothingLeft):
        await judge.weigh(FACTS, REQUESTER, runners[:1], prepared=prepared)
    policy.places = ("DE", "FR")
    with pytest.raises(NothingLeft):
        await judge.weigh(FACTS, REQUESTER, runners, prepared=parse_body(body("US")))


async def test_a_job_that_is_weighed_under_two_revisions_is_not_taken(
    parties: Parties, judge: Judge, policy: ScriptedPolicy
) -> None:
    runners = roster(parties).facts_of([parties.runners["FR"].name], now_ns=parties.clock())
    assert await judge.weigh(FACTS, REQUESTER, runners, prepared=parse_body(body("FR"))), "the control"
    policy.changes_at = "judge"
    with pytest.raises(PolicyEngineUnavailable):
        await judge.weigh(FACTS, REQUESTER, runners, prepared=parse_body(body("FR")))


async def test_a_job_that_names_no_runner_yet_is_weighed_by_its_places(
    parties: Parties, judge: Judge, policy: ScriptedPolicy
) -> None:
    review = parse_body(body("FR", verdict="review"))
    await judge.weigh(FACTS, REQUESTER, (), prepared=review)
    assert policy.asked == ["decide"]
    policy.places = ()
    with pytest.raises(NothingLeft):
        await judge.weigh(FACTS, REQUESTER, (), prepared=parse_body(body("FR")))
