"""Cases: what an officer expects of policy, as a table (`cases.json`) that is asked of an engine.

- A table holds one whole job (`facts`), where it needs one a whole runner, and cases: each says by path what of the job
  or the runner is otherwise, on which day it is asked, how many persons approved, and what must come of it.
- A case is not taken to hold because nothing was expected of it: each expects something, and what it names is checked.

    for case in read(overlay.files["cases.json"], schemas=bundle.schemas):
        said = await faults(case, engine=engine, overlay=overlay.name)     # nothing, where all is as expected
"""

import copy
import json
from dataclasses import dataclass
from typing import Any, Final

from carnet.core import limits
from carnet.core.decision import DecisionBody, RunnerVerdict
from carnet.core.document import Json, canonical, parse
from carnet.core.errors import FieldInvalid
from carnet.core.facts import JobFacts, parse_facts
from carnet.core.runner import RunnerFacts, parse_runner
from policy.catalogue import nanoseconds
from policy.engine import GatewayFacts, JobQuery, PolicyEngine, Screening
from policy.schemas import Schemas

bytes_max: Final = 256 * limits.KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case: what is asked, and what is expected, each part as the table has it."""

    name: str
    facts: JobFacts
    runners: tuple[RunnerFacts, ...]
    approvals: int
    now_ns: int
    verdict: str | None
    permitted: tuple[str, ...]
    not_permitted: tuple[str, ...]
    rules: tuple[str, ...]
    runner: str | None


def read(data: bytes, *, schemas: Schemas) -> tuple[Case, ...]:
    """Read a table. Raises `FieldInvalid` with the path of a fault."""
    parse(data, bytes_max=bytes_max)
    table = json.loads(data)
    schemas.check("cases", table)
    return tuple(_case(table, i) for i in range(len(table["cases"])))


async def faults(case: Case, *, engine: PolicyEngine, overlay: str) -> tuple[str, ...]:
    """What is not as the case expects. Raises `PolicyEngineUnavailable`."""
    gateway = GatewayFacts(
        issuer="cases", subject="cases", tenant="cases", roles=(), screening=Screening.CLEAR, overlay=overlay,
        approvals=case.approvals,
    )  # fmt: skip
    query = JobQuery(facts=case.facts, gateway=gateway, now_ns=case.now_ns)
    return tuple(_faults(case, await engine.decide(query), await engine.judge(query, case.runners)))


def _faults(case: Case, body: DecisionBody, verdicts: tuple[RunnerVerdict, ...]) -> list[str]:
    found = []
    if case.verdict not in {None, body.verdict.value}:
        found.append(f"the verdict is {body.verdict.value}")
    found += [f"{place} is not permitted" for place in case.permitted if place not in body.permitted]
    found += [f"{place} is permitted" for place in case.not_permitted if place in body.permitted]
    named = {reason.rule for reason in (*body.reasons, *(r for verdict in verdicts for r in verdict.reasons))}
    found += [f"{rule} gives no reason" for rule in case.rules if rule not in named]
    words = ["permit" if verdict.permitted else "deny" for verdict in verdicts]
    if case.runner is not None and words != [case.runner]:
        found.append(f"the runner's verdict is {words[0]}")
    return found


def _case(table: dict[str, Any], number: int) -> Case:
    case, path = table["cases"][number], f"cases[{number}]"
    expected = case["expect"]
    facts = parse_facts(canonical(_with(table["facts"], case.get("facts", {}), f"{path}.facts")))
    runners: tuple[RunnerFacts, ...] = ()
    if "runner" in table and ("runner" in case or "runner" in expected):
        runners = (parse_runner(canonical(_with(table["runner"], case.get("runner", {}), f"{path}.runner"))),)
    if "runner" in {*case, *expected} and not runners:
        raise FieldInvalid("the table has no runner", metadata={"field": f"{path}.runner"})
    return Case(
        name=case["name"],
        facts=facts,
        runners=runners,
        approvals=case.get("approvals", 0),
        now_ns=_day(case["at"], path),
        verdict=expected.get("verdict"),
        permitted=tuple(expected.get("permitted", ())),
        not_permitted=tuple(expected.get("not_permitted", ())),
        rules=tuple(expected.get("rules", ())),
        runner=expected.get("runner"),
    )


def _day(day: str, path: str) -> int:
    try:
        return nanoseconds(day)
    except ValueError as error:
        raise FieldInvalid("at is no day", metadata={"field": f"{path}.at"}) from error


def _with(document: dict[str, Any], changes: dict[str, Any], path: str) -> dict[str, Json]:
    """The document with the values at these paths (`data.classes`) replaced; each must be there already."""
    found = copy.deepcopy(document)
    for place, value in changes.items():
        *parents, last = place.split(".")
        part: Any = found
        for name in parents:
            part = part.get(name) if isinstance(part, dict) else None
        if not isinstance(part, dict) or last not in part:
            raise FieldInvalid(f"{place} is not in the table", metadata={"field": f"{path}.{place}"})
        part[last] = value
    return found
