"""The `carnet policy` commands: what a compliance officer or a job's author asks on their own machine.

    carnet policy eval --facts facts.json -o json --at 2031-12-27
    carnet policy list
    carnet policy bundle --folder /srv/opa/bundle      # for `opa run --server --bundle /srv/opa/bundle`

- `eval` asks a real OPA, started for the question and stopped after it, through the same checks as the gateway. It
  prints the whole decision document (with --runner, `{"decision": ..., "verdict": ...}`); a denial ends with 3.
- Data goes to stdout, words to stderr. A malformed file ends with 2, an engine that does not answer with 6.
"""

import asyncio
import datetime
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Column, Table

from carnet.core import limits
from carnet.core.decision import DecisionBody, Effect, Reason, RunnerVerdict, Verdict
from carnet.core.document import Document, Json, parse
from carnet.core.errors import CallerError, CarnetError, FieldInvalid, PolicyEngineUnavailable
from carnet.core.facts import TRISTATE, parse_facts
from carnet.core.runner import Evidence, Isolation, Owner, RunnerFacts
from policy.bundle import Bundle
from policy.catalogue import nanoseconds
from policy.child import SupervisedOpa
from policy.engine import GatewayFacts, JobQuery, Screening
from policy.rendering import Language, Renderer

app = App(name="policy", help="Ask policy what it would say, and list its rules.")

Output = Literal["json", "table"]

_USAGE: Final = 2
_DENIED: Final = 3
_UNAVAILABLE: Final = 6


@app.command(name="eval")
def evaluate(
    *,
    facts: Path,
    runner: Path | None = None,
    at: str | None = None,
    screening: Screening = Screening.OFF,
    output: Annotated[Output, Parameter(name=["--output", "-o"])] = "table",
    language: Language = "en",
) -> None:
    """Decide on a job from its facts.

    Parameters
    ----------
    facts: a file with carnet.facts/v1
    runner: a file with one runner's facts, to be judged as well
    at: a day (YYYY-MM-DD, midnight UTC) or a time (RFC 3339) to decide at; now, if not given
    screening: what denied-party screening says of the requester
    output: json or table
    language: en or fr
    """
    try:
        query = JobQuery(facts=parse_facts(_read(facts)), gateway=_local(screening), now_ns=moment(at))
        runners = (parse_runner(_read(runner)),) if runner else ()
        bundle = Bundle.load()
        body, verdicts = asyncio.run(_ask(bundle, query, runners))
    except CarnetError as error:
        Console(stderr=True).print(f"{error.reason}: {error.text} {error.detail}", style="red", markup=False)
        raise SystemExit(_USAGE if isinstance(error, CallerError) else _UNAVAILABLE) from error
    if output == "json":
        _print_json(body, verdicts)
    else:
        _print_words(Renderer(bundle=bundle, language=language), body, verdicts)
    if body.verdict is not Verdict.PERMIT or not all(verdict.permitted for verdict in verdicts):
        raise SystemExit(_DENIED)


@app.command(name="list")
def list_rules(*, output: Annotated[Output, Parameter(name=["--output", "-o"])] = "table") -> None:
    """List the rules: what each is, what it cites, and whether it is in force."""
    bundle = Bundle.load()
    overdue = bundle.overdue(moment(None))
    if output == "json":
        sys.stdout.write(json.dumps(bundle.tables["rules"]["rows"], indent=2, ensure_ascii=False) + "\n")
    else:
        table = Table(Column("rule", no_wrap=True), "stage", "effect", "title", "citations", "status", box=None)
        for rule in bundle.catalogue():
            table.add_row(rule.id, rule.stage, rule.effect, rule.title, " ".join(rule.citations), rule.status)
        Console().print(table)
    if overdue:
        Console(stderr=True).print("past their day of review: " + ", ".join(overdue), style="yellow", markup=False)


@app.command(name="bundle")
def write_bundle(*, folder: Path) -> None:
    """Write the bundle that an external OPA must run, and print its revision.

    Parameters
    ----------
    folder: a folder that does not exist yet
    """
    try:
        folder.mkdir(parents=True)
        bundle = Bundle.load()
        bundle.write(folder)
    except OSError as error:
        Console(stderr=True).print(f"{folder} can not be written: {error.strerror}", style="red", markup=False)
        raise SystemExit(_USAGE) from error
    sys.stdout.write(bundle.revision + "\n")


def moment(at: str | None) -> int:
    """A day or a time as ns since 1970 UTC; None is now. Raises `FieldInvalid`."""
    if at is None:
        return int(datetime.datetime.now(datetime.UTC).timestamp()) * 10**9
    try:
        if len(at) == len("2026-01-01"):
            return nanoseconds(at)
        found = datetime.datetime.fromisoformat(at)
    except ValueError as error:
        raise FieldInvalid("at must be a day or an RFC 3339 time", metadata={"field": "at"}) from error
    if found.tzinfo is None:
        raise FieldInvalid("at must name its time zone", metadata={"field": "at"})
    return int(found.timestamp()) * 10**9 + found.microsecond * 1000


def parse_runner(data: bytes) -> RunnerFacts:
    """A runner's facts from the document that policy hears of it. Raises `FieldInvalid`."""
    top = parse(data, bytes_max=limits.facts_bytes_max)
    operator = top.document("operator")
    found = RunnerFacts(
        spiffe_id=top.text("spiffe_id", bytes_max=2048),
        jurisdiction=top.text("jurisdiction"),
        operator=operator.text("entity"),
        operator_country=operator.text("country"),
        parent_country=operator.text("parent_country"),
        evidence=Evidence(top.text("evidence", choices=set(Evidence))),
        isolation=Isolation(top.text("isolation", choices=set(Isolation))),
        gpus=top.integer("gpus", high=1024),
        card_digest=bytes(32),
        owners=tuple(_owner(owner) for owner in operator.documents("owners", items_max=limits.owners_max)),
        covered_person=operator.text("covered_person", choices=TRISTATE),
        certifications=tuple(sorted(operator.texts("certifications", items_max=limits.owners_max, bytes_max=64))),
        gpu_models=tuple(sorted(top.texts("gpu_models"))),
    )
    if top.text("country") != found.country:
        top.refuse("country", "must be the country of the jurisdiction")
    operator.close()
    top.close()
    return found


def _owner(document: Document) -> Owner:
    found = Owner(country=document.text("country", bytes_max=2), percent=document.integer("percent", high=100))
    document.close()
    return found


def find_opa() -> Path:
    """The OPA binary: `CARNET_OPA`, else `opa` on the path. Raises `PolicyEngineUnavailable`."""
    named = os.environ.get("CARNET_OPA") or shutil.which("opa")
    if not named:
        raise PolicyEngineUnavailable("No OPA: put `opa` on the path, or its file in CARNET_OPA.")
    return Path(named).absolute()


async def _ask(
    bundle: Bundle, query: JobQuery, runners: tuple[RunnerFacts, ...]
) -> tuple[DecisionBody, tuple[RunnerVerdict, ...]]:
    engine = SupervisedOpa(binary=find_opa(), bundle=bundle)
    await engine.start()
    try:
        return await engine.decide(query), await engine.judge(query, runners)
    finally:
        await engine.close()


def _local(screening: Screening) -> GatewayFacts:
    return GatewayFacts(issuer="local", subject="local", tenant="local", roles=(), screening=screening)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FieldInvalid(f"{path} can not be read", metadata={"field": str(path)}) from error


def _print_json(body: DecisionBody, verdicts: tuple[RunnerVerdict, ...]) -> None:
    decision: Json = json.loads(body.payload)
    document = {"decision": decision, "verdict": _verdict(verdicts[0])} if verdicts else decision
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def _verdict(verdict: RunnerVerdict) -> Json:
    return {
        "spiffe_id": verdict.spiffe_id,
        "jurisdiction": verdict.jurisdiction,
        "verdict": "permit" if verdict.permitted else "deny",
        "reasons": [
            {"rule": r.rule, "effect": r.effect.value, "citations": list(r.citations), "fix": list(r.fix)}
            for r in verdict.reasons
        ],
        "valid_until_ns": verdict.valid_until_ns,
    }


def _print_words(renderer: Renderer, body: DecisionBody, verdicts: tuple[RunnerVerdict, ...]) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"{body.verdict.value.upper()}  {renderer.places(body.permitted)}", style="bold")
    _print_reasons(console, renderer, body.reasons)
    for verdict in verdicts:
        word = "PERMIT" if verdict.permitted else "DENY"
        console.print(f"{word}  {verdict.spiffe_id} ({verdict.jurisdiction})", style="bold")
        _print_reasons(console, renderer, verdict.reasons)
    if body.unverified_rows_used:
        console.print("unverified data used: " + ", ".join(body.unverified_rows_used))
    Console(stderr=True, soft_wrap=True).print(renderer.disclaimer(body), markup=False)


def _print_reasons(console: Console, renderer: Renderer, reasons: tuple[Reason, ...]) -> None:
    for reason in reasons:
        words = renderer.reason(reason)
        style = "red" if reason.effect is Effect.DENY else ""
        console.print(f"  {reason.effect.value:6}  {reason.rule}  {words.text}", style=style)
        for fix in words.fix:
            console.print(f"          -> {fix}")
        for citation in words.citations:
            console.print(f"          {citation}", style="dim")
