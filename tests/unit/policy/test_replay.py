"""Replay and simulation, with engines that answer what a test says: every difference is told, and nothing else."""

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from carnet.core.decision import DecisionBody, DecisionRecord, Revisions, RunnerVerdict, ShortlistEntry, parse_body
from carnet.core.document import canonical
from carnet.core.errors import FieldInvalid, StatementInvalid
from carnet.core.runner import RunnerFacts
from policy.bundle import Bundle
from policy.engine import JobQuery
from policy.masking import MaskRule
from policy.replay import PastDecision, check_bundle, replay
from policy.simulation import Report, Side, compare
from tests.fixtures.parties import body
from tests.opa_support import NOW, query_of, runner_of

RUNNER = runner_of("DE")
DUTY = {"type": "recipients_max", "value": 2, "rule": "carnet.baseline", "citations": [], "enforcer": "client"}
UNTIL = {"valid_until_ns": NOW + 1}


@dataclass(kw_only=True)
class Says:
    """An engine that gives one answer, and remembers which overlay it was asked for."""

    answer: DecisionBody
    permits: bool = True
    name: str = "says"
    version: str = "1"
    overlay: str = "nobody asked"
    asked_ns: int = 0

    @property
    def revisions(self) -> Revisions:
        """Those of its answer."""
        return self.answer.revisions

    async def decide(self, query: JobQuery) -> DecisionBody:
        """The answer."""
        self.overlay, self.asked_ns = query.gateway.overlay, query.now_ns
        return self.answer

    async def judge(self, query: JobQuery, runners: tuple[RunnerFacts, ...]) -> tuple[RunnerVerdict, ...]:
        """The same for each."""
        return tuple(
            RunnerVerdict(
                spiffe_id=runner.spiffe_id,
                jurisdiction=runner.jurisdiction,
                card_digest=runner.card_digest,
                permitted=self.permits,
                obligations=(),
                reasons=(),
                valid_until_ns=NOW + 1,
            )
            for runner in runners
        )

    async def mask(self, query: JobQuery, body: DecisionBody) -> tuple[MaskRule, ...]:
        """Nothing."""
        return ()

    async def close(self) -> None:
        """Nothing is open."""


def answer(*places: str, **changes: Any) -> DecisionBody:
    return parse_body(body(*places, **UNTIL, **changes))


def past(found: DecisionBody, *, evaluated_ns: int = NOW) -> PastDecision:
    entry = ShortlistEntry(
        spiffe_id=RUNNER.spiffe_id, jurisdiction="DE", card_digest=RUNNER.card_digest, permitted=True
    )
    record = DecisionRecord(
        payload=b"record",
        id=bytes(16),
        tenant_id=bytes(16),
        body_digest=found.digest,
        facts_digest=bytes(32),
        gateway_facts_digest=bytes(32),
        engine="says",
        engine_version="1",
        evaluated_ns=evaluated_ns,
        valid_until_ns=NOW + 1,
        shortlist=(entry,),
    )
    return PastDecision(name="one", record=record, body=found, input=canonical(query_of().document((RUNNER,))))


async def test_the_same_answer_is_the_same() -> None:
    found = await replay(past(answer("DE")), Says(answer=answer("DE")))
    assert (found.name, found.same, found.differences) == ("one", True, ())


async def test_every_field_that_differs_is_named_and_so_is_the_short_list() -> None:
    then = answer("DE")
    other = await replay(past(then), Says(answer=answer("DE", "FR", obligations=[DUTY])))
    assert other.differences == ("obligations", "permitted")
    refused = await replay(past(then), Says(answer=then, permits=False))
    assert refused.differences == ("shortlist",)
    unsaid = replace(past(then), record=replace(past(then).record, unverified_rows_used=("accelerators/H100",)))
    assert (await replay(unsaid, Says(answer=then))).differences == ("unverified_rows",)
    reordered = replace(then, payload=json.dumps(json.loads(then.payload), indent=1).encode())
    assert (await replay(past(then), Says(answer=reordered))).differences == ("bytes",)


async def test_an_input_of_another_time_or_none_at_all_is_not_replayed() -> None:
    then = answer("DE")
    with pytest.raises(StatementInvalid, match="another time"):
        await replay(past(then, evaluated_ns=NOW + 1), Says(answer=then))
    with pytest.raises(FieldInvalid):
        await replay(replace(past(then), input=b"{}"), Says(answer=then))


def test_a_bundle_is_the_one_of_the_body_or_none() -> None:
    bundle = Bundle.load()
    check_bundle(bundle, bundle.revisions)
    with pytest.raises(StatementInvalid):
        check_bundle(bundle, replace(bundle.revisions, data="sha256:" + "0" * 64))


APPROVAL = {"type": "approval", "value": 1, "rule": "carnet.baseline", "citations": [], "enforcer": "gateway"}


def waiting(*places: str) -> DecisionBody:
    return answer(*places, verdict="review", obligations=[APPROVAL])


async def compared(
    live: Says, draft: Says, *, job_open: str = "job", then: PastDecision | None = None, at_ns: int | None = None
) -> Any:
    sides = Side(engine=live, overlay=""), Side(engine=draft, overlay="klinikum")
    return await compare(then or past(answer("DE")), live=sides[0], draft=sides[1], job_open=job_open, at_ns=at_ns)


async def test_each_side_is_asked_for_its_own_overlay() -> None:
    live, draft = Says(answer=answer("DE")), Says(answer=answer("DE"))
    found = await compared(live, draft)
    assert (live.overlay, draft.overlay) == ("", "klinikum")
    assert not found.changes
    assert not found.stranded


async def test_what_comes_and_goes_is_told_apart() -> None:
    wider = await compared(Says(answer=answer("DE")), Says(answer=answer("DE", "FR")))
    assert (wider.places_new, wider.widens, wider.narrows) == (("FR",), True, False)
    narrower = await compared(Says(answer=answer("DE", "FR")), Says(answer=answer("FR")))
    assert (narrower.places_gone, narrower.runners_gone) == (("DE",), (RUNNER.spiffe_id,))
    assert narrower.stranded
    refused = await compared(Says(answer=answer("DE")), Says(answer=answer("DE"), permits=False))
    assert (refused.places_gone, refused.runners_gone, refused.stranded) == ((), (RUNNER.spiffe_id,), True)
    bound = await compared(Says(answer=answer("DE")), Says(answer=answer("DE", obligations=[DUTY])))
    assert (bound.duties_new, bound.widens, bound.narrows, bound.changes) == (("recipients_max 2",), False, False, True)


async def test_what_waits_for_an_approval_is_not_permitted() -> None:
    found = await compared(Says(answer=answer("DE")), Says(answer=waiting("DE")))
    assert (found.live, found.draft) == ("permit", "review")
    assert (found.places_gone, found.stranded) == (("DE",), True)
    assert (await compared(Says(answer=waiting("DE")), Says(answer=answer("DE")))).places_new == ("DE",)


async def test_a_job_that_waits_for_an_approval_is_stranded_by_its_places() -> None:
    """Nobody is on its short list, with any draft."""
    then = past(waiting("DE", "FR"))
    then = replace(then, record=replace(then.record, shortlist=()))

    async def stranded(live: DecisionBody, draft: DecisionBody) -> bool:
        return bool((await compared(Says(answer=live), Says(answer=draft), then=then)).stranded)

    assert not await stranded(waiting("DE", "FR"), waiting("DE", "FR"))
    assert not await stranded(waiting("DE", "FR"), waiting("FR"))
    assert not await stranded(waiting("DE", "FR"), answer("FR")), "it need not wait any more"
    assert await stranded(waiting("DE", "FR"), answer())
    assert await stranded(waiting("DE", "FR"), waiting("IN")), "elsewhere is not where it was sealed for"
    assert not await stranded(answer(), answer()), "what is live had stranded it before"


async def test_what_is_live_strands_no_job_of_the_drafts() -> None:
    assert not (await compared(Says(answer=answer("FR")), Says(answer=answer("FR")))).stranded
    assert not (await compared(Says(answer=answer("FR")), Says(answer=answer("IN")))).stranded


async def test_both_sides_are_asked_at_the_decisions_own_time_or_at_one_that_is_named() -> None:
    live, draft = Says(answer=answer("DE")), Says(answer=answer("DE"))
    await compared(live, draft)
    assert (live.asked_ns, draft.asked_ns) == (NOW, NOW)
    await compared(live, draft, at_ns=NOW + 5)
    assert (live.asked_ns, draft.asked_ns) == (NOW + 5, NOW + 5)


async def test_a_decision_without_a_job_in_flight_strands_nothing_and_a_report_sorts_them() -> None:
    same = await compared(Says(answer=answer("DE")), Says(answer=answer("DE")), job_open="")
    wider = replace(await compared(Says(answer=answer()), Says(answer=answer("DE")), job_open=""), name="b")
    gone = replace(await compared(Says(answer=answer("DE")), Says(answer=answer()), job_open=""), name="a")
    bound = replace(
        await compared(Says(answer=answer("DE")), Says(answer=answer("DE", obligations=[DUTY])), job_open=""), name="c"
    )
    report = Report.of([same, wider, gone, bound])
    assert report.asked == 4
    assert [each.name for each in report.newly_permitted] == ["b"]
    assert [each.name for each in report.newly_denied] == ["a"]
    assert [each.name for each in report.otherwise] == ["c"]
    assert report.stranded == ()
