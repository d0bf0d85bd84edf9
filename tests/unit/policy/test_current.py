"""One bundle takes another's place: the new engine serves first, the old one ends its questions, or nothing changes."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from carnet.core.decision import DecisionBody, Revisions, RunnerVerdict
from carnet.core.errors import PolicyEngineUnavailable, StoreUnavailable
from carnet.core.runner import RunnerFacts
from policy.bundle import Bundle
from policy.engine import JobQuery
from policy.engines.answers import body_of
from policy.engines.cache import CachedPolicy
from policy.engines.choice import EngineName, OwnEngine, ServerByUrl, chosen, find_opa
from policy.engines.current import CurrentPolicy
from tests.fixtures.releases import BUNDLE, variant
from tests.opa_answers import BODY
from tests.opa_support import NOW, query_of

OTHER = variant()


class Engine:
    """An engine on the other side of the seam that can be made to wait."""

    name = "counting"

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.version = bundle.revision
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False

    @property
    def revisions(self) -> Revisions:
        return self.bundle.revisions

    async def decide(self, query: JobQuery) -> DecisionBody:
        self.asked += 1
        await self.gate.wait()
        assert not self.closed, "an engine was closed under a question"
        revisions = {"rules": self.revisions.rules, "data": self.revisions.data}
        return body_of(BODY | {"revisions": revisions}, bundle=self.bundle, now_ns=NOW)

    async def judge(self, query: JobQuery, runners: tuple[RunnerFacts, ...]) -> tuple[RunnerVerdict, ...]:
        return ()

    async def close(self) -> None:
        self.closed = True


class Starter:
    """Starts such engines, or does not."""

    def __init__(self) -> None:
        self.engines: list[Engine] = []
        self.fails = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def first(self, bundle: Bundle) -> Engine:
        self.engines.append(Engine(bundle))
        return self.engines[-1]

    async def another(self, bundle: Bundle) -> Engine:
        await self.gate.wait()
        if self.fails:
            raise PolicyEngineUnavailable
        return await self.first(bundle)


class Published:
    """What was published, in order."""

    def __init__(self) -> None:
        self.revisions: list[str] = []
        self.fails = False

    async def __call__(self, bundle: Bundle) -> None:
        if self.fails:
            raise StoreUnavailable
        self.revisions.append(bundle.revision)


@pytest.fixture
def starter() -> Starter:
    return Starter()


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
async def policy(starter: Starter, published: Published) -> CurrentPolicy:
    return await CurrentPolicy.open(starter, bundle=BUNDLE, publish=published)


async def soon(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while True:
            if check():
                return
            await asyncio.sleep(0)


async def test_an_activated_bundle_answers_the_next_question(
    policy: CurrentPolicy, starter: Starter, published: Published
) -> None:
    assert (policy.bundle, policy.revisions, policy.version) == (BUNDLE, BUNDLE.revisions, BUNDLE.revision)
    assert (await policy.decide(query_of())).revisions == BUNDLE.revisions
    await policy.activate(OTHER)
    assert (policy.bundle, policy.revisions, policy.version) == (OTHER, OTHER.revisions, OTHER.revision)
    assert (await policy.decide(query_of())).revisions == OTHER.revisions
    assert published.revisions == [BUNDLE.revision, OTHER.revision]
    await soon(lambda: starter.engines[0].closed)
    assert not starter.engines[1].closed


async def test_an_engine_is_closed_when_its_last_question_has_ended_and_not_before(
    policy: CurrentPolicy, starter: Starter
) -> None:
    old = starter.engines[0]
    old.gate.clear()
    asking = [asyncio.create_task(policy.decide(query_of())) for _ in range(2)]
    await soon(lambda: old.asked == 2)
    await policy.activate(OTHER)
    assert (await policy.decide(query_of())).revisions == OTHER.revisions
    assert not old.closed
    old.gate.set()
    assert [(await task).revisions for task in asking] == [BUNDLE.revisions] * 2
    await soon(lambda: old.closed)


async def test_a_bundle_whose_engine_does_not_start_changes_nothing(
    policy: CurrentPolicy, starter: Starter, published: Published
) -> None:
    starter.fails = True
    with pytest.raises(PolicyEngineUnavailable):
        await policy.activate(OTHER)
    assert policy.bundle is BUNDLE
    assert (await policy.decide(query_of())).revisions == BUNDLE.revisions
    assert published.revisions == [BUNDLE.revision, OTHER.revision, BUNDLE.revision], "the old one is offered again"
    starter.fails = False
    await policy.activate(OTHER)
    assert policy.bundle is OTHER


async def test_an_activation_that_is_cancelled_changes_nothing(
    policy: CurrentPolicy, starter: Starter, published: Published
) -> None:
    starter.gate.clear()
    activating = asyncio.create_task(policy.activate(OTHER))
    await soon(lambda: published.revisions[-1] == OTHER.revision)
    activating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await activating
    assert policy.bundle is BUNDLE
    assert published.revisions[-1] == BUNDLE.revision


async def test_a_bundle_that_can_not_be_kept_never_answers(
    policy: CurrentPolicy, starter: Starter, published: Published
) -> None:
    published.fails = True
    with pytest.raises(StoreUnavailable):
        await policy.activate(OTHER)
    assert policy.bundle is BUNDLE
    assert len(starter.engines) == 1
    with pytest.raises(StoreUnavailable):
        await CurrentPolicy.open(starter, bundle=OTHER, publish=published)
    assert len(starter.engines) == 1


async def test_activations_that_come_at_once_happen_one_after_the_other(
    policy: CurrentPolicy, starter: Starter, published: Published
) -> None:
    third = variant("third")
    await asyncio.gather(policy.activate(OTHER), policy.activate(third))
    assert policy.bundle is third
    assert published.revisions == [BUNDLE.revision, OTHER.revision, third.revision]
    await soon(lambda: [engine.closed for engine in starter.engines] == [True, True, False])


async def test_closing_closes_all_engines_also_those_with_open_questions(
    policy: CurrentPolicy, starter: Starter
) -> None:
    old = starter.engines[0]
    old.gate.clear()
    asking = asyncio.create_task(policy.decide(query_of()))
    await soon(lambda: old.asked == 1)
    await policy.activate(OTHER)
    await policy.close()
    assert [engine.closed for engine in starter.engines] == [True, True]
    asking.cancel()


async def test_the_cache_forgets_at_once_and_also_on_the_way_back(policy: CurrentPolicy, starter: Starter) -> None:
    cached = CachedPolicy(engine=policy)
    for bundle in (BUNDLE, OTHER, BUNDLE):
        if policy.bundle is not bundle:
            await policy.activate(bundle)
        for _ in range(2):
            assert (await cached.decide(query_of())).revisions == bundle.revisions
    assert [engine.asked for engine in starter.engines] == [1, 1, 0], "what was cached under the same revisions serves"


async def test_an_answer_that_policy_changed_under_is_not_kept_for_the_revisions_that_were_asked(
    policy: CurrentPolicy,
) -> None:
    cached = CachedPolicy(engine=policy)
    asking = asyncio.create_task(cached.decide(query_of()))
    # It runs after the cache has taken its key, of the bundle before, and before the engine is asked.
    activating = asyncio.create_task(policy.activate(OTHER))
    assert (await asking).revisions == OTHER.revisions
    await activating
    await policy.activate(BUNDLE)
    assert (await cached.decide(query_of())).revisions == BUNDLE.revisions


async def test_an_answer_is_valid_no_longer_than_its_bundle_and_its_bytes_stay(
    starter: Starter, published: Published
) -> None:
    free = await CurrentPolicy.open(starter, bundle=BUNDLE, publish=published)
    until = (await free.decide(query_of())).valid_until_ns
    for ends in (until - 1, until, until + 1):
        policy = await CurrentPolicy.open(starter, bundle=replace(BUNDLE, expires_ns=ends), publish=published)
        if ends <= NOW:
            with pytest.raises(PolicyEngineUnavailable):
                await policy.decide(query_of())
        else:
            body = await policy.decide(query_of())
            assert body.valid_until_ns == min(until, ends)
            assert body.payload == (await free.decide(query_of())).payload


async def test_the_kind_of_engine_is_chosen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARNET_OPA", "/no/such/opa")
    starter = chosen(EngineName.AUTO)
    assert find_opa() is None
    monkeypatch.setenv("CARNET_OPA", "/bin/true")
    assert find_opa() is not None, "the control: an OPA came up after the start"
    engine = await starter.another(BUNDLE)
    assert engine.name == "embedded"
    await engine.close()


async def test_the_embedded_engine_follows(published: Published) -> None:
    policy = await CurrentPolicy.open(OwnEngine(None), bundle=BUNDLE, publish=published)
    try:
        before = await policy.decide(query_of())
        await policy.activate(OTHER)
        after = await policy.decide(query_of())
        assert (before.revisions, after.revisions) == (BUNDLE.revisions, OTHER.revisions)
        assert before.permitted == after.permitted
        rules = BUNDLE.rules | {"carnet/bad/bad.rego": b"package carnet.bad\n\nfound := time.now_ns()\n"}
        with pytest.raises(PolicyEngineUnavailable):
            await policy.activate(replace(BUNDLE, rules=rules))
        assert (await policy.decide(query_of())).payload == after.payload
    finally:
        await policy.close()


async def test_a_server_by_url_that_does_not_follow_is_no_engine_of_the_new_bundle() -> None:
    starter = chosen(EngineName.OPA, url="http://127.0.0.1:1")
    assert isinstance(starter, ServerByUrl)
    assert (await starter.first(BUNDLE)).revisions == BUNDLE.revisions, "the control: it may come up later"
    starter = ServerByUrl(starter._endpoint, follow_seconds=0.2)
    with pytest.raises(PolicyEngineUnavailable) as caught:
        await starter.another(BUNDLE)
    assert BUNDLE.revision in caught.value.detail
