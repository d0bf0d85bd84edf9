"""`carnet policy eval`: what policy says of a job, and of a runner for it.

    carnet policy eval --facts facts.json -o json --at 2031-12-27 --engine embedded
    carnet policy eval --facts facts.json --overlay overlay/ --exemptions exemptions.json --approvals 1

The question goes through the same checks as the gateway's. It prints the whole decision document; with --runner,
`{"decision": ..., "verdict": ...}`, both as the engine gave them.
"""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from carnet.core.decision import DecisionBody, Effect, Reason, RunnerVerdict, Verdict, unverified_rows_of
from carnet.core.document import Json, canonical
from carnet.core.runner import RunnerFacts, parse_runner
from policy.bundle import Bundle
from policy.commands.common import (
    DENIED,
    Output,
    OverlayFolder,
    asking,
    loaded,
    local,
    moment,
    print_json,
    read,
    read_exemptions,
    read_facts,
    say,
    telling,
)
from policy.engine import JobQuery, Screening
from policy.engines.choice import EngineName
from policy.rendering import Language, Renderer


def evaluate(
    *,
    facts: Path,
    runner: Path | None = None,
    at: str | None = None,
    screening: Screening = Screening.OFF,
    overlay: OverlayFolder = None,
    exemptions: Path | None = None,
    approvals: int = 0,
    engine: EngineName = EngineName.AUTO,
    output: Output = "table",
    language: Language = "en",
) -> None:
    """Decide on a job from its facts.

    Parameters
    ----------
    facts: a file with carnet.facts/v1
    runner: a file with one runner's facts, to be judged as well
    at: a day (YYYY-MM-DD, midnight UTC) or a time (RFC 3339) to decide at; now, if not given
    screening: what denied-party screening says of the requester
    overlay: a folder with an organisation's own rules
    exemptions: a file with the exemptions that were approved
    approvals: how many other persons have approved the job
    engine: auto (an OPA where there is one), opa or embedded
    output: json or table
    language: en or fr
    """
    with telling():
        bundle, name = loaded(overlay)
        granted = read_exemptions(exemptions) if exemptions else ()
        gateway = local(screening, overlay=name, exemptions=granted, approvals=approvals)
        query = JobQuery(facts=read_facts(facts), gateway=gateway, now_ns=moment(at))
        runners = (parse_runner(read(runner)),) if runner else ()
        body, verdicts = asyncio.run(_ask(bundle, engine, query, runners))
    if output == "json":
        _print_json(body, verdicts)
    else:
        _print_words(Renderer(bundle=bundle, language=language), body, verdicts)
    if body.verdict is not Verdict.PERMIT or not all(verdict.permitted for verdict in verdicts):
        raise SystemExit(DENIED)


async def _ask(
    bundle: Bundle, name: EngineName, query: JobQuery, runners: tuple[RunnerFacts, ...]
) -> tuple[DecisionBody, tuple[RunnerVerdict, ...]]:
    async with asking(bundle, name) as engine:
        return await engine.decide(query), await engine.judge(query, runners)


def _print_json(body: DecisionBody, verdicts: tuple[RunnerVerdict, ...]) -> None:
    decision: Json = json.loads(body.payload)
    document = {"decision": decision, "verdict": _verdict(verdicts[0])} if verdicts else decision
    print_json(document)


def _verdict(verdict: RunnerVerdict) -> Json:
    """The verdict as the engine gave it (`schema/verdicts.json`)."""
    found = asdict(verdict)
    # What the answer's parser added to it, from the runner that was asked about.
    for name in ("jurisdiction", "card_digest"):
        del found[name]
    found["verdict"] = "permit" if found.pop("permitted") else "deny"
    for reason in found["reasons"]:
        reason["parameters"] = dict(reason["parameters"])
    document: Json = json.loads(canonical(found))
    return document


def _print_words(renderer: Renderer, body: DecisionBody, verdicts: tuple[RunnerVerdict, ...]) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"{_word(renderer, body.verdict)}  {renderer.places(body.permitted)}", style="bold")
    _print_reasons(console, renderer, body.reasons)
    for verdict in verdicts:
        word = _word(renderer, Verdict.PERMIT if verdict.permitted else Verdict.DENY)
        console.print(f"{word}  {verdict.spiffe_id} ({verdict.jurisdiction})", style="bold")
        _print_reasons(console, renderer, verdict.reasons)
    for used in body.exemptions_used:
        console.print(renderer.words("exempt", rule=used.rule, exemption=used.id))
    if used_rows := sorted({*body.unverified_rows_used, *unverified_rows_of(verdicts)}):
        console.print(renderer.words("unverified", rows=", ".join(used_rows)))
    say(renderer.disclaimer(body))


def _word(renderer: Renderer, verdict: Verdict) -> str:
    return renderer.words(f"verdict_{verdict.value}")


def _print_reasons(console: Console, renderer: Renderer, reasons: tuple[Reason, ...]) -> None:
    for reason in reasons:
        words = renderer.reason(reason)
        style = "red" if reason.effect is Effect.DENY else ""
        effect = renderer.words(f"effect_{reason.effect.value}")
        console.print(f"  {effect:6}  {reason.rule}  {words.text}", style=style)
        for fix in words.fix:
            console.print(f"          -> {fix}")
        for citation in words.citations:
            console.print(f"          {citation}", style="dim")
