"""The cache gives equal answers for equal questions, never an answer past its day, and never a failure twice."""

import asyncio
from dataclasses import replace

import pytest

from carnet.core.decision import DecisionBody, Revisions, RunnerVerdict
from carnet.core.errors import PolicyEngineUnavailable
from carnet.core.runner import RunnerFacts
from policy.engine import JobQuery
from policy.engines import cache
from policy.engines.answers import body_of
from policy.engines.cache import CachedPolicy
from policy.masking import MaskRule
from tests.opa_answers import BODY, BUNDLE
from tests.opa_support import NOW, hospital, query_of

UNTIL = NOW + 100


class Engine:
    """An engine on the other side of the seam, that counts and can be made to wait or to fail."""

    name = "counting"
    version = "1"

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.down = False
        self.revisions = BUNDLE.revisions
        self.closed = False

    async def decide(self, query: JobQuery) -> DecisionBody:
        self.asked.append(query.now_ns)
        await self.gate.wait()
        if self.down:
            raise PolicyEngineUnavailable
        until = UNTIL if query.now_ns < UNTIL else UNTIL * 2
        return body_of(BODY | {"valid_until_ns": until}, bundle=BUNDLE, now_ns=NOW)

    async def judge(self, query: JobQuery, runners: tuple[RunnerFacts, ...]) -> tuple[RunnerVerdict, ...]:
        self.asked.append(-len(runners))
        return ()

    async def mask(self, query: JobQuery, body: DecisionBody) -> tuple[MaskRule, ...]:
        self.asked.append(0)
        if self.down:
            raise PolicyEngineUnavailable
        return (MaskRule(segments=("input", str(query.now_ns))),)

    async def close(self) -> None:
        self.closed = True


async def test_equal_questions_are_asked_once() -> None:
    engine = Engine()
    cached = CachedPolicy(engine=engine)
    one = await cached.decide(query_of(now_ns=NOW))
    assert await cached.decide(query_of(hospital(caps={"seconds": 5}), now_ns=NOW + 1)) is one
    assert engine.asked == [NOW]


async def test_other_facets_are_another_question() -> None:
    engine = Engine()
    cached = CachedPolicy(engine=engine)
    await cached.decide(query_of())
    await cached.decide(query_of(hospital(constraints={"only": ["DE"]})))
    assert len(engine.asked) == 2


async def test_an_answer_serves_until_its_day_to_the_nanosecond() -> None:
    engine = Engine()
    cached = CachedPolicy(engine=engine)
    await cached.decide(query_of(now_ns=NOW))
    await cached.decide(query_of(now_ns=UNTIL - 1))
    assert engine.asked == [NOW]
    await cached.decide(query_of(now_ns=UNTIL))
    assert engine.asked == [NOW, UNTIL]


async def test_an_answer_of_later_does_not_serve_a_question_of_before() -> None:
    engine = Engine()
    cached = CachedPolicy(engine=engine)
    await cached.decide(query_of(now_ns=NOW))
    await cached.decide(query_of(now_ns=NOW - 1))
    assert engine.asked == [NOW, NOW - 1]


async def test_other_rules_are_another_question() -> None:
    engine = Engine()
    cached = CachedPolicy(engine=engine)
    await cached.decide(query_of())
    engine.revisions = Revisions(rules="sha256:" + "0" * 64, data=engine.revisions.data)
    await cached.decide(query_of())
    assert len(engine.asked) == 2
    assert cached.revisions == engine.revisions


async def test_a_failure_is_never_kept() -> None:
    engine = Engine()
    engine.down = True
    cached = CachedPolicy(engine=engine)
    for _ in range(2):
        with pytest.raises(PolicyEngineUnavailable):
            await cached.decide(query_of())
    assert len(engine.asked) == 2
    engine.down = False
    assert (await cached.decide(query_of())).permits("DE")


async def test_questions_that_come_at_once_become_one() -> None:
    engine = Engine()
    engine.gate.clear()
    cached = CachedPolicy(engine=engine)
    waiting = [asyncio.create_task(cached.decide(query_of())) for _ in range(10)]
    await asyncio.sleep(0)
    engine.gate.set()
    bodies = await asyncio.gather(*waiting)
    assert len({id(body) for body in bodies}) == 1
    assert len(engine.asked) == 1


async def test_a_question_past_the_day_of_the_answer_that_it_waited_for_is_asked_again() -> None:
    engine = Engine()
    engine.gate.clear()
    cached = CachedPolicy(engine=engine)
    first = asyncio.create_task(cached.decide(query_of(now_ns=NOW)))
    late = asyncio.create_task(cached.decide(query_of(now_ns=UNTIL)))
    await asyncio.sleep(0)
    engine.gate.set()
    assert (await first).valid_until_ns == UNTIL
    assert (await late).valid_until_ns > UNTIL


async def test_a_caller_that_goes_away_does_not_take_the_answer_from_the_others() -> None:
    engine = Engine()
    engine.gate.clear()
    cached = CachedPolicy(engine=engine)
    first, second = (asyncio.create_task(cached.decide(query_of())) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    engine.gate.set()
    assert (await second).permits("DE")
    assert len(engine.asked) == 1


async def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "entries_max", 2)
    engine = Engine()
    cached = CachedPolicy(engine=engine)
    countries = ["DE", "FR", "IT", "DE"]
    for country in countries:
        await cached.decide(query_of(hospital(constraints={"only": [country]})))
    assert len(engine.asked) == len(countries)


async def test_stage_2_is_never_kept_and_closing_closes_the_engine() -> None:
    engine = Engine()
    cached = CachedPolicy(engine=engine)
    query = replace(query_of(), now_ns=NOW)
    await cached.judge(query, ())
    await cached.judge(query, ())
    assert engine.asked == [0, 0]
    assert (cached.name, cached.version) == ("counting", "1")
    await cached.close()
    assert engine.closed


async def test_a_mask_is_asked_once_for_equal_decisions_and_a_failure_is_not_kept() -> None:
    engine = Engine()
    cached = CachedPolicy(engine=engine)
    body = await cached.decide(query_of(now_ns=NOW))
    engine.down = True
    with pytest.raises(PolicyEngineUnavailable):
        await cached.mask(query_of(now_ns=NOW), body)
    engine.down = False
    one = await cached.mask(query_of(now_ns=NOW), body)
    assert await cached.mask(query_of(now_ns=NOW + 1), body) is one
    assert engine.asked == [NOW, 0, 0]
    other = await cached.mask(query_of(hospital(constraints={"only": ["DE"]}), now_ns=NOW), body)
    assert other is not one
    assert await cached.mask(query_of(now_ns=NOW), replace(body, payload=b"another")) is not one
    assert engine.asked == [NOW, 0, 0, 0, 0]


async def test_a_mask_of_another_revision_is_asked_anew_and_one_that_policy_overtook_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine()
    cached = CachedPolicy(engine=engine)
    body = await cached.decide(query_of())
    mask = engine.mask

    async def overtaken(query: JobQuery, found: DecisionBody) -> tuple[MaskRule, ...]:
        engine.revisions = Revisions(rules="sha256:" + "1" * 64, data=BUNDLE.revisions.data)
        return await mask(query, found)

    monkeypatch.setattr(engine, "mask", overtaken)
    await cached.mask(query_of(), body)
    engine.revisions = BUNDLE.revisions
    monkeypatch.setattr(engine, "mask", mask)
    await cached.mask(query_of(), body)
    await cached.mask(query_of(), body)
    assert engine.asked[1:] == [0, 0]


async def test_masks_are_as_many_as_answers_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "entries_max", 2)
    engine = Engine()
    cached = CachedPolicy(engine=engine)
    body = await cached.decide(query_of())
    bodies = [replace(body, payload=bytes([n])) for n in range(3)]
    for each in (*bodies, bodies[0]):
        await cached.mask(query_of(), each)
    assert engine.asked[1:] == [0, 0, 0, 0]
