"""Stage 1 for every jurisdiction under every regime, on both engines, cached and not; and how it grows.

The bound is the embedded engine's bare evaluation: what an answer costs before it is checked. The growth is measured on
bundles that were made larger: more rules (each blocks places and gives its reason), and more rows (dated memberships,
in the lists that there are: these grow much more than the whole), twice and four times. A job is prepared
(`Judge.prepare`) with offers of 10,000 and of 100,000 runners, the most that a gateway has: the engine is asked twice
for each, once for the job and once for a short list, and what grows with the runners is placement, in Python. Both
sides of a ratio go by turns.

    ./dev bench policy [--runs 60] [--long]
"""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from carnet.core import limits
from carnet.core.document import canonical
from carnet.core.facts import parse_facts
from carnet.core.runner import RunnerFacts, parse_runner
from carnet.core.statement import Signer
from gateway.judge import Judge
from policy.bundle import Bundle, home
from policy.engine import GatewayFacts, JobQuery, Screening
from policy.engines.cache import CachedPolicy
from policy.engines.child import SupervisedOpa
from policy.engines.embedded import EmbeddedEngine
from tests.bench.support.fleet import Counted, offers
from tests.bench.support.measure import quotients, ratio, say, value

BENCH: Final = "policy"
NOW: Final = 1_795_305_600 * 10**9
fleet_share: Final = 10  # preparing among so many takes seconds: one run of it for so many of the others
DECIDE: Final = "data.carnet.main.body"
WARM: Final = 3
FLEETS: Final = (10_000, limits.runners_max)


def query() -> JobQuery:
    """The demonstration's job: health data, every place asked about."""
    facts = parse_facts((home / "examples" / "german-hospital.json").read_bytes())
    gateway = GatewayFacts(issuer="i", subject="s", tenant="t", roles=(), screening=Screening.CLEAR)
    return JobQuery(facts=facts, gateway=gateway, now_ns=NOW)


async def timed(asks: list[Callable[[], Awaitable[Any]]], runs: int) -> list[list[float]]:
    """Seconds of each call of each way, by turns, after three rounds that warm up; the first of a round changes."""
    found: list[list[float]] = [[] for _ in asks]
    for number in range(-WARM, runs):
        order = range(len(asks)) if number % 2 else reversed(range(len(asks)))
        for way in order:
            began = time.perf_counter()
            await asks[way]()
            if number >= 0:
                found[way].append(time.perf_counter() - began)
    return found


def report(measure: str, seconds: list[float]) -> None:
    """The median and the 99th percentile of one way, in milliseconds."""
    value(BENCH, f"{measure}_median", [second * 1e3 for second in seconds], unit="ms")
    value(BENCH, f"{measure}_p99", [sorted(seconds)[int(len(seconds) * 0.99)] * 1e3], unit="ms")


def larger(bundle: Bundle, *, rules: int = 0, rows: int = 0) -> Bundle:
    """The bundle with more rules (packages that block a few places) or with more rows."""
    texts, tables = dict(bundle.rules), dict(bundle.tables)
    main = texts["carnet/main/main.rego"].decode()
    known: dict[str, Any] = dict(bundle.rows("rules"))
    for number in range(rules):
        name, rule = f"extra{number}", f"EXTRA-{number}"
        texts[f"carnet/{name}/{name}.rego"] = _package(name, rule).encode()
        known[rule] = {**known["SA-PDPL-29"], "package": f"carnet.{name}", "effective_from_ns": 0}
        main = main.replace("import data.carnet.uk\n", f"import data.carnet.uk\nimport data.carnet.{name}\n")
        for part in ("blocked", "explained"):
            main = main.replace(f"\tuk.{part},\n", f"\tuk.{part},\n\t{name}.{part},\n")
    texts["carnet/main/main.rego"] = main.encode()
    members: dict[str, Any] = dict(bundle.rows("memberships"))
    again = cycle(members.items())
    members |= {f"{key}+{number}": row for number, (key, row) in zip(range(rows), again, strict=False)}
    tables["rules"] = {**tables["rules"], "rows": known}
    tables["memberships"] = {**tables["memberships"], "rows": members}
    return replace(bundle, rules=texts, tables=tables)


def _package(name: str, rule: str) -> str:
    places_blocked = '{country | gdpr.personal; some country in places.countries; country in {"KP", "IR"}}'
    words = '{"message": "saudi.no_basis", "parameters": {}, "fix": ["saudi.fix.mechanism"]}'
    imports = "import data.carnet.gdpr\nimport data.carnet.places\n"
    rules = f'blocked["{rule}"] := {places_blocked}\n\nexplained["{rule}"] := {words}\n'
    return f"package carnet.{name}\n\n{imports}\n{rules}"


async def started(engine: SupervisedOpa | EmbeddedEngine) -> SupervisedOpa | EmbeddedEngine:
    """The engine, once it serves."""
    await engine.start()
    return engine


async def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="./dev bench policy", description="Stage 1 on both engines.")
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--long", action="store_true", help="400 runs")
    found = parser.parse_args()
    runs = 400 if found.long else found.runs
    bundle, opa = Bundle.load(), Path(os.environ["CARNET_OPA"])
    rows = sum(len(bundle.rows(name)) for name, table in bundle.tables.items() if "rows" in table and name != "rules")
    say(f"{len(bundle.rows('jurisdictions'))} jurisdictions, {len(bundle.catalogue())} rules, {rows} rows")
    for name, make in (
        ("opa", lambda found: SupervisedOpa(binary=opa, bundle=found, seconds_max=60)),
        ("embedded", lambda found: EmbeddedEngine(bundle=found, seconds_max=60)),
    ):
        engine = await started(make(bundle))
        try:
            await stages(name, engine, runs)
            await fleets(name, engine, max(runs // fleet_share, 3))
            await growth(name, engine, make, bundle, rows, runs)
        finally:
            await engine.close()


async def stages(name: str, engine: SupervisedOpa | EmbeddedEngine, runs: int) -> None:
    """Stage 1, cached and not, and against the bare evaluation; stage 2 of a whole short list and of one runner."""
    asked, cached = query(), CachedPolicy(engine=engine)
    plain, hit = await timed([partial(engine.decide, asked), partial(cached.decide, asked)], runs)
    report(f"{name}_stage_1", plain)
    report(f"{name}_stage_1_cached", hit)
    ratio(BENCH, f"{name}_cached_over_not", quotients(hit, plain), better="lower", target=0.01, unit="s / s")
    if isinstance(engine, EmbeddedEngine):
        plain, bare = await timed([partial(engine.decide, asked), partial(_bare, engine, asked)], runs)
        over = quotients(plain, bare)
        ratio(BENCH, "embedded_over_bare_evaluation", over, better="lower", target=2.0, unit="s / s")
    shortlist = tuple(_runner(number) for number in range(limits.shortlist_max))
    asks = [partial(engine.judge, asked, shortlist[:1]), partial(engine.judge, asked, shortlist)]
    one, many = await timed(asks, runs)
    over = quotients(many, one)
    ratio(BENCH, f"{name}_stage_2_of_32_over_one", over, better="lower", target=None, unit="s / s")


async def fleets(name: str, engine: SupervisedOpa | EmbeddedEngine, runs: int) -> None:
    """Preparing among so many runners: how often the engine is asked, its time, and the time of all of it."""
    asked = query()
    like = parse_runner((home / "examples" / "runner-fr.json").read_bytes())
    fleet = [offers(count, like=like, now_ns=NOW) for count in FLEETS]
    counted, asks = [], []
    for found in fleet:
        counter = Counted(engine)
        judge = Judge(counter, Signer.generate(), clock=lambda: NOW)
        counted.append(counter)
        asks.append(partial(judge.prepare, asked.facts, asked.gateway, found, tenant_id=bytes(16)))
    inside: list[list[float]] = [[], []]
    small, large = await timed([_within(ask, *pair) for ask, *pair in zip(asks, counted, inside, strict=True)], runs)
    for count, counter in zip(FLEETS, counted, strict=True):
        rounds = runs + WARM
        calls = [(counter.decided + len(counter.judged)) / rounds]
        assert calls == [2.0]
        assert set(counter.judged) == {limits.shortlist_max}
        value(BENCH, f"{name}_engine_calls_to_prepare_among_{count}", calls, unit="calls")
        value(BENCH, f"{name}_runners_judged_among_{count}", counter.judged, unit="runners")
    few, many = FLEETS
    over = quotients(inside[1][-runs:], inside[0][-runs:])
    ratio(BENCH, f"{name}_engine_among_{many}_over_{few}", over, better="lower", target=1.1, unit="s / s")
    over = quotients(large, small)
    ratio(BENCH, f"{name}_prepare_among_{many}_over_{few}", over, better="lower", target=many / few, unit="s / s")
    report(f"{name}_prepare_among_{few}", small)
    report(f"{name}_prepare_among_{many}", large)


def _within(ask: Callable[[], Awaitable[Any]], counter: Counted, seconds: list[float]) -> Callable[[], Awaitable[Any]]:
    """The same call, which also notes how long the engine took of it."""

    async def asking() -> None:
        before = counter.seconds
        await ask()
        seconds.append(counter.seconds - before)

    return asking


async def growth(
    name: str,
    engine: SupervisedOpa | EmbeddedEngine,
    make: Callable[[Bundle], SupervisedOpa | EmbeddedEngine],
    bundle: Bundle,
    rows: int,
    runs: int,
) -> None:
    """Stage 1 over bundles with twice and four times the rules, and the rows."""
    asked = query()
    for times in (2, 4):
        more = {"rules": (times - 1) * len(bundle.catalogue()), "rows": (times - 1) * rows}
        for part, count in more.items():
            grown = await started(make(larger(bundle, **{part: count})))
            try:
                one, other = await timed([partial(engine.decide, asked), partial(grown.decide, asked)], runs)
            finally:
                await grown.close()
            measure = f"{name}_stage_1_with_{times}_times_the_{part}"
            ratio(BENCH, measure, quotients(other, one), better="lower", target=times, unit="s / s")


def _runner(number: int) -> RunnerFacts:
    document = json.loads((home / "examples" / "runner-fr.json").read_bytes())
    return parse_runner(canonical(document | {"spiffe_id": f"{document['spiffe_id']}{number}"}))


async def _bare(engine: EmbeddedEngine, asked: JobQuery) -> str:
    text = canonical(asked.document()).decode()

    def evaluate(inner: Any) -> str:
        inner.set_input_json(text)
        return str(inner.eval_rule_as_json(DECIDE))

    return await engine._run(evaluate)


if __name__ == "__main__":
    asyncio.run(main())
