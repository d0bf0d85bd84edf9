"""The embedded engine: what it answers, and that whatever goes wrong in it is no answer."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from carnet.core.decision import check_usable
from carnet.core.errors import Bug, FieldInvalid, PolicyEngineUnavailable
from policy.bundle import Bundle
from policy.engines import breaker
from policy.engines.embedded import EmbeddedEngine, threads_max
from tests.opa_support import NOW, hospital, query_of, runner_of

BUNDLE = Bundle.load()
MAIN = "carnet/main/main.rego"


@pytest.fixture
async def engine() -> AsyncIterator[EmbeddedEngine]:
    found = EmbeddedEngine(bundle=BUNDLE)
    await found.start()
    yield found
    await found.close()


def with_main(text: str) -> Bundle:
    """The bundle with other words in place of the main package, under the same revisions."""
    return replace(BUNDLE, rules={MAIN: text.encode()})


async def refusal_of(bundle: Bundle) -> str:
    engine = EmbeddedEngine(bundle=bundle)
    try:
        await engine.start()
        await engine.decide(query_of())
    except PolicyEngineUnavailable as error:
        return error.detail
    finally:
        await engine.close()
    return "an answer"


async def test_it_decides_and_judges_without_an_opa(engine: EmbeddedEngine) -> None:
    body = await engine.decide(query_of())
    check_usable(body, now_ns=NOW)
    assert body.permits("FR")
    assert not body.permits("US")
    french, american = await engine.judge(query_of(), (runner_of("FR"), runner_of("US")))
    assert french.permitted
    assert not american.permitted
    assert await engine.judge(query_of(), ()) == ()
    with pytest.raises(Bug):
        await engine.judge(query_of(), (runner_of("FR"),) * 33)


async def test_it_names_itself_and_the_revisions_of_its_bundle(engine: EmbeddedEngine) -> None:
    assert (engine.name, engine.version) == ("embedded", "0.13.0")
    assert engine.revisions == BUNDLE.revisions


async def test_every_thread_has_an_engine_of_its_own(engine: EmbeddedEngine) -> None:
    seen: set[int] = set()
    whole = threading.Barrier(threads_max, timeout=30)

    def work(inner: object) -> str:
        seen.add(id(inner))
        whole.wait()
        return ""

    await asyncio.gather(*(engine._run(work) for _ in range(threads_max)))
    assert len(seen) == threads_max
    bodies = await asyncio.gather(*(engine.decide(query_of()) for _ in range(8)))
    assert len({body.payload for body in bodies}) == 1


async def test_questions_do_not_leave_anything_behind(engine: EmbeddedEngine) -> None:
    before = (await engine.decide(query_of())).payload
    await engine.decide(query_of(hospital(constraints={"only": ["US"]})))
    await engine.judge(query_of(), (runner_of("IN"),))
    assert (await engine.decide(query_of())).payload == before


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("package carnet.main\n\nbody := input.nothing\n", "embedded"),
        ("package carnet.main\n\nbody := {}\n", "decision"),
        ("package carnet.main\n\nbody := true\n", "embedded"),
        ('package carnet.main\n\nbody := "<undefined>"\n', "embedded"),
        ("package carnet.main\n\nother := 1\n", "embedded"),
        ('package carnet.main\n\nbody := {"verdict": 1}\n\nbody := {"verdict": 2}\n', "embedded"),
        ('package carnet.main\n\nbody := {"verdict": abs("x")}\n', "embedded"),
        ('package carnet.main\n\nbody := {"n": 9223372036854775807 + 9223372036854775807}\n', "embedded"),
        ("package carnet.main\n\nbody := http.send({})\n", "the gate"),
        ("package carnet.main\n\nbody := 1.5\n", "the gate"),
        ("package carnet.main\n\nbody := ((\n", "the gate"),
    ],
)
async def test_rules_that_are_not_right_give_no_answer(text: str, detail: str) -> None:
    assert detail in await refusal_of(with_main(text))


async def test_the_control_our_own_rules_pass_the_same_way() -> None:
    engine = EmbeddedEngine(bundle=replace(BUNDLE, rules=dict(BUNDLE.rules)))
    await engine.start()
    assert (await engine.decide(query_of())).permits("FR")
    await engine.close()


async def test_a_question_that_hangs_costs_one_deadline_and_then_none_is_asked_for_a_while() -> None:
    now = 0.0
    engine = EmbeddedEngine(bundle=BUNDLE, seconds_max=10, clock=lambda: now)
    await engine.start()
    engine._seconds_max = 0.05
    free = threading.Event()

    def hang(inner: object) -> str:
        free.wait(30)
        return ""

    try:
        for _ in range(breaker.failures_max):
            with pytest.raises(PolicyEngineUnavailable, match="does not answer") as caught:
                await engine._run(hang)
            assert "TimeoutError" in caught.value.detail
        with pytest.raises(PolicyEngineUnavailable) as caught:
            await engine.decide(query_of())
        assert "did not answer lately" in caught.value.detail
        free.set()
        now = 60.0
        engine._seconds_max = 10
        assert (await engine.decide(query_of())).permits("FR")
    finally:
        free.set()
        await engine.close()


async def test_a_panic_is_no_answer_and_the_next_question_gets_a_new_engine(engine: EmbeddedEngine) -> None:
    class PanicException(BaseException):
        """As the library raises it."""

    def panic(inner: object) -> str:
        raise PanicException("at the disco")

    with pytest.raises(PolicyEngineUnavailable) as caught:
        await engine._run(panic)
    assert "at the disco" in caught.value.detail
    assert (await engine.decide(query_of())).permits("FR")


async def test_a_question_that_is_none_is_refused_before_it_is_asked(engine: EmbeddedEngine) -> None:
    query = query_of(now_ns=-1)
    with pytest.raises(FieldInvalid, match=r"\$\.context\.now_ns"):
        await engine.decide(query)


async def test_after_its_end_it_answers_nothing(engine: EmbeddedEngine) -> None:
    await engine.close()
    with pytest.raises(PolicyEngineUnavailable):
        await engine.decide(query_of())
