"""`carnet decision`: what was decided, as it was signed and logged, and whether it would be decided so again.

    carnet decision list --since 30d
    carnet decision get NAME -o json
    carnet decision export --since 2026-01-01 > events.jsonl
    carnet decision replay --since 30d --key compliance.key

Whatever is shown beyond a list was verified before. Errors and exit codes are those of the `carnet` command; a replay
that finds a difference, or can not be made of a decision that was named, ends with 1.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter

from carnet.cli.exits import ExitCode
from carnet.cli.options import DEFAULT, Options
from carnet.cli.output import Format, ListFormat, plain, say, show, show_json, show_pairs, show_table, warn, when
from carnet.core.decision import Revisions, unverified_rows
from carnet.core.document import Json
from carnet.core.errors import FieldInvalid
from carnet.officer import DecisionSummary, LoggedDecision, Officer, event_of
from policy.commands.past import Window, compliance_key, fetched, policy_keys, since_ns
from policy.engine import PolicyEngine
from policy.engines.choice import EngineName, opened
from policy.replay import Replayed, replay
from policy.signing import Keys

app = App(name="decision", help="See every decision as it was signed and logged, and make it again.")

page_size: Final = 100

Verdicts = Literal["", "permit", "deny", "review"]
Output = Annotated[Format, Parameter(name=["--output", "-o"])]
ListOutput = Annotated[ListFormat, Parameter(name=["--output", "-o"])]


@app.command(name="list")
async def list_decisions(
    *,
    since: str | None = None,
    until: str | None = None,
    verdict: Verdicts = "",
    limit: int = 50,
    output: ListOutput = "table",
    options: Options = DEFAULT,
) -> int:
    """List decisions, newest first, by the gateway's word.

    Parameters
    ----------
    since
        a day, a time, or how long ago: 30d, 12h
    until
        likewise; what was decided from then on is left out
    verdict
        permit, deny or review; any, if not given
    limit
        how many at most
    output
        table, json or name
    """
    async with Officer(options.load()) as officer:
        found = await _newest(officer, from_ns=since_ns(since), until_ns=since_ns(until), verdict=verdict, limit=limit)
    if output == "json":
        show_json([_summary(each) for each in found])
    elif output == "name":
        for each in found:
            show(each.name)
    else:
        columns = ("decision", "verdict", "stage", "decided", "job", "state")
        show_table(
            columns,
            [
                (each.name, each.verdict, each.stage, when(each.evaluated_ns), each.job, str(each.job_state or ""))
                for each in found
            ],
        )
    return ExitCode.OK


@app.command
async def get(name: str, /, *, output: Output = "table", options: Options = DEFAULT) -> int:
    """Show one decision, verified: record, leaf, and the event as it was logged.

    Parameters
    ----------
    name
        tenants/ID/decisions/ID
    output
        table or json
    """
    async with Officer(options.load()) as officer:
        found = await officer.decision(name)
    if output == "json":
        show_json(_whole(found))
        return ExitCode.OK
    summary, record = found.summary, found.record
    show_pairs(
        [
            ("decision", summary.name),
            ("verdict", summary.verdict),
            ("stage", summary.stage),
            ("decided", when(summary.evaluated_ns)),
            ("engine", f"{record.engine} {record.engine_version}"),
            ("bundle", summary.bundle),
            ("job", f"{summary.job} {summary.job_state or ''}".strip()),
            ("leaf", str(found.leaf_index)),
            ("event", "kept" if found.event else "no longer kept"),
            ("input", "sealed" if found.sealed_input else "none"),
        ]
    )
    for reason in found.body.reasons:
        show(plain(f"  {reason.effect.value:6}  {reason.rule}  {', '.join(reason.citations)}"))
    return ExitCode.OK


@app.command
async def export(*, since: str | None = None, until: str | None = None, options: Options = DEFAULT) -> int:
    """Print the events of decisions, oldest first, one JSON object a line: OPA's shape with ours, as they were logged.

    Parameters
    ----------
    since
        a day, a time, or how long ago: 30d, 12h
    until
        likewise; what was decided from then on is left out
    """
    gone = 0
    async with Officer(options.load()) as officer:
        decisions = officer.export(from_ns=since_ns(since), until_ns=since_ns(until))
        async with aclosing(decisions):
            async for found in decisions:
                if found.event:
                    show(json.dumps(event_of(found), ensure_ascii=True, sort_keys=True, separators=(",", ":")))
                gone += not found.event
    if gone:
        say(f"{gone} decisions are past their retention and have no event any more")
    return ExitCode.OK


@app.command(name="replay")
async def replay_decisions(
    *names: str,
    key: Path,
    since: str | None = None,
    engine: EngineName = EngineName.AUTO,
    output: Output = "table",
    options: Options = DEFAULT,
) -> int:
    """Make decisions again, each under the bundle and at the time of its own, and compare every byte of the body.

    Parameters
    ----------
    names
        tenants/ID/decisions/ID; or none of them, with --since
    key
        the tenant's compliance key, which opens what was asked
    since
        a day, a time, or how long ago: 30d, 12h
    engine
        auto (an OPA where there is one), opa or embedded
    output
        table or json
    """
    if bool(names) == (since is not None):
        raise FieldInvalid("Name decisions, or give --since.", metadata={"field": "since"})
    context = options.load()
    keys = policy_keys(context)
    async with Officer(context) as officer:
        window = Window(officer=officer, key=compliance_key(key), from_ns=since_ns(since), names=names)
        async with _engines(officer, keys, engine) as engines:
            found = [await replay(past, await engines.of(past.body.revisions)) async for _, past in window.decisions()]
    _show_replayed(found, window.passed_over, output)
    failed = any(not each.same for each in found) or (names and window.passed_over)
    return ExitCode.JOB_FAILED if failed else ExitCode.OK


class _Engines:
    """The engine of one bundle at a time: decisions come in the order of time, and so do their bundles."""

    def __init__(self, officer: Officer, keys: Keys, name: EngineName) -> None:
        self._officer = officer
        self._keys = keys
        self._name = name
        self._engine: PolicyEngine | None = None

    async def of(self, revisions: Revisions) -> PolicyEngine:
        """An engine that serves the bundle of these revisions."""
        if self._engine is not None and self._engine.revisions == revisions:
            return self._engine
        bundle = await fetched(self._officer, revisions, self._keys)
        await self.close()
        self._engine = await opened(self._name, bundle=bundle)
        return self._engine

    async def close(self) -> None:
        """Stop the engine that serves."""
        if self._engine is not None:
            await self._engine.close()
            self._engine = None


@asynccontextmanager
async def _engines(officer: Officer, keys: Keys, name: EngineName) -> AsyncGenerator[_Engines]:
    found = _Engines(officer, keys, name)
    try:
        yield found
    finally:
        await found.close()


async def _newest(
    officer: Officer, *, from_ns: int, until_ns: int, verdict: str, limit: int
) -> tuple[DecisionSummary, ...]:
    found: list[DecisionSummary] = []
    token = ""
    while len(found) < limit:
        page = await officer.decisions(
            from_ns=from_ns,
            until_ns=until_ns,
            verdict=verdict,
            page_size=min(page_size, limit - len(found)),
            page_token=token,
        )
        found += page.decisions
        token = page.next_page_token
        if not token or not page.decisions:
            break
    return tuple(found[:limit])


def _summary(each: DecisionSummary) -> dict[str, Json]:
    return {
        "name": each.name,
        "stage": each.stage,
        "verdict": each.verdict,
        "evaluated_ns": each.evaluated_ns,
        "bundle": each.bundle,
        "job": each.job,
        "job_state": each.job_state.value if each.job_state else None,
    }


def _whole(found: LoggedDecision) -> dict[str, Json]:
    body: Json = json.loads(found.body.payload)
    record = found.record
    return _summary(found.summary) | {
        "engine": {"name": record.engine, "version": record.engine_version},
        "valid_until_ns": record.valid_until_ns,
        "shortlist": [
            {"spiffe_id": entry.spiffe_id, "jurisdiction": entry.jurisdiction, "permitted": entry.permitted}
            for entry in record.shortlist
        ],
        "unverified_rows_used": [*unverified_rows(found.body, record)],
        "leaf_index": found.leaf_index,
        "body": body,
        "event": event_of(found) if found.event else None,
        "input_sealed": bool(found.sealed_input),
    }


def _show_replayed(found: list[Replayed], passed_over: list[str], output: str) -> None:
    if output == "json":
        replayed: Json = [{"name": r.name, "same": r.same, "differences": [*r.differences]} for r in found]
        show_json({"replayed": replayed, "no_input": [*passed_over]})
    else:
        show_table(
            ("decision", "replay"),
            [
                *((r.name, "same" if r.same else "differs: " + ", ".join(r.differences)) for r in found),
                *((name, "no input is kept") for name in passed_over),
            ],
        )
    differ = sum(not r.same for r in found)
    tell = warn if differ else say
    tell(f"{len(found)} made again, {differ} of them otherwise; {len(passed_over)} have no input that is kept")
