"""Stage 1 for every jurisdiction under every regime, on both engines, cached and not; and how it grows.

The bound is the embedded engine's bare evaluation: what an answer costs before it is checked. The growth is measured on
bundles that were made larger: more rules (each blocks places and gives its reason), and more rows (dated memberships).
Runners do not enter stage 1: its input has no place for them, whatever the roster holds. Stage 2 hears a short list.

    ./dev bench policy [--runs 60] [--long]
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from carnet.core import limits
from carnet.core.document import canonical
from carnet.core.facts import parse_facts
from carnet.core.runner import RunnerFacts, parse_runner
from policy.bundle import Bundle, home
from policy.engine import GatewayFacts, JobQuery, PolicyEngine, Screening
from policy.engines.cache import CachedPolicy
from policy.engines.child import SupervisedOpa
from policy.engines.embedded import EmbeddedEngine
from tests.bench.support.measure import ratio, say, value

BENCH: Final = "policy"
NOW: Final = 1_795_305_600 * 10**9
DECIDE: Final = "data.carnet.main.body"


def query() -> JobQuery:
    """The demonstration's job: health data, every place asked about."""
    facts = parse_facts((home / "examples" / "german-hospital.json").read_bytes())
    gateway = GatewayFacts(issuer="i", subject="s", tenant="t", roles=(), screening=Screening.CLEAR)
    return JobQuery(facts=facts, gateway=gateway, now_ns=NOW)


async def timed(ask: Callable[[], Awaitable[Any]], runs: int) -> list[float]:
    """Seconds of each call, after three that warm up."""
    for _ in range(3):
        await ask()
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        await ask()
        found.append(time.perf_counter() - began)
    return found


def report(measure: str, seconds: list[float]) -> None:
    """The median and the 99th percentile of one way, in milliseconds."""
    value(BENCH, f"{measure}_median", [statistics.median(seconds) * 1e3], unit="ms")
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
    first = next(iter(members.values()))
    members |= {f"EXTRA/{number}": {**first, "group": f"EXTRA_{number % 50}"} for number in range(rows)}
    tables["rules"] = {**tables["rules"], "rows": known}
    tables["memberships"] = {**tables["memberships"], "rows": members}
    return replace(bundle, rules=texts, tables=tables)


def _package(name: str, rule: str) -> str:
    places_blocked = '{country | gdpr.personal; some country in places.countries; country in {"KP", "IR"}}'
    words = '{"message": "saudi.no_basis", "parameters": {}, "fix": ["saudi.fix.mechanism"]}'
    imports = "import data.carnet.gdpr\nimport data.carnet.places\n"
    rules = f'blocked["{rule}"] := {places_blocked}\n\nexplained["{rule}"] := {words}\n'
    return f"package carnet.{name}\n\n{imports}\n{rules}"


async def started(engine: SupervisedOpa | EmbeddedEngine) -> PolicyEngine:
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
    bundle, asked, opa = Bundle.load(), query(), Path(os.environ["CARNET_OPA"])
    assert "runners" not in asked.document()
    say(f"{len(bundle.rows('jurisdictions'))} jurisdictions, {len(bundle.catalogue())} rules")
    for name, make in (
        ("opa", lambda found: SupervisedOpa(binary=opa, bundle=found, seconds_max=60)),
        ("embedded", lambda found: EmbeddedEngine(bundle=found, seconds_max=60)),
    ):
        engine = await started(make(bundle))
        cached = CachedPolicy(engine=engine)
        plain = await timed(partial(engine.decide, asked), runs)
        hit = await timed(partial(cached.decide, asked), runs)
        report(f"{name}_stage_1", plain)
        report(f"{name}_stage_1_cached", hit)
        ratio(BENCH, f"{name}_cached_over_not", _each(hit, plain), better="lower", target=0.05, unit="s / s")
        if isinstance(engine, EmbeddedEngine):
            bare = await timed(partial(_bare, engine, asked), runs)
            ratio(BENCH, "embedded_over_bare_evaluation", _each(plain, bare), better="lower", target=2.0, unit="s / s")
        shortlist = [_runner(number) for number in range(limits.shortlist_max)]
        one = await timed(partial(engine.judge, asked, tuple(shortlist[:1])), runs)
        many = await timed(partial(engine.judge, asked, tuple(shortlist)), runs)
        ratio(BENCH, f"{name}_stage_2_of_32_over_one", _each(many, one), better="lower", target=None, unit="s / s")
        await cached.close()
        for measure, more in (("twice_the_rules", {"rules": 59}), ("thrice_the_rows", {"rows": 400})):
            grown = await started(make(larger(bundle, **more)))
            seconds = await timed(partial(grown.decide, asked), runs)
            ratio(BENCH, f"{name}_{measure}_over_one", _each(seconds, plain), better="lower", target=None, unit="s / s")
            await grown.close()


def _runner(number: int) -> RunnerFacts:
    document = json.loads((home / "examples" / "runner-fr.json").read_bytes())
    return parse_runner(canonical(document | {"spiffe_id": f"{document['spiffe_id']}{number}"}))


async def _bare(engine: EmbeddedEngine, asked: JobQuery) -> str:
    text = canonical(asked.document()).decode()

    def evaluate(inner: Any) -> str:
        inner.set_input_json(text)
        return str(inner.eval_rule_as_json(DECIDE))

    return await engine._run(evaluate)


def _each(over: list[float], under: list[float]) -> list[float]:
    bound = statistics.median(under)
    return [seconds / bound for seconds in over]


if __name__ == "__main__":
    asyncio.run(main())
