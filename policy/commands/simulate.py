"""`carnet policy simulate`: what a draft would have said of the decisions of the past, before anybody activates it.

    carnet policy simulate overlay/ --since 30d --key compliance.key
    carnet policy simulate bundle.tar.gz --public officers.pem --since 90d --at 2027-08-01 --key compliance.key

What is live, and what takes its place, is in `policy/commands/drafts.py`. Both are asked here, on the officer's
machine. Nothing is changed, and no gateway hears of the draft.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from carnet.cli.exits import ExitCode
from carnet.cli.options import DEFAULT, Options
from carnet.cli.output import Format, codes, say, show, show_json, show_table, warn
from carnet.officer import LoggedDecision
from carnet.policyofficer import PolicyOfficer
from policy.commands.common import moment
from policy.commands.drafts import Law, live_law, read_draft
from policy.commands.past import Window, compliance_key, policy_keys, since_ns
from policy.engines.choice import EngineName, opened
from policy.simulation import Difference, Report, Side, compare


async def simulate(
    draft: Path,
    /,
    *,
    key: Path,
    public: Path | None = None,
    since: str = "30d",
    at: str | None = None,
    engine: EngineName = EngineName.AUTO,
    output: Annotated[Format, Parameter(name=["--output", "-o"])] = "table",
    options: Options = DEFAULT,
) -> int:
    """Ask a draft of every decision in a window, beside what is live: newly permitted first, then newly denied.

    Parameters
    ----------
    draft
        the folder of an overlay, or the file of a signed release of the rules of all
    key
        the tenant's compliance key, which opens what was asked
    public
        for a release: the key that must have signed it
    since
        a day, a time, or how long ago: 30d, 12h
    at
        a day or a time to ask all of it at, for what begins later; each at its own time, if not given
    engine
        auto (an OPA where there is one), opa or embedded
    output
        table or json
    """
    found = read_draft(draft, public)
    context = options.load()
    keys, secret, at_ns = policy_keys(context), compliance_key(key), moment(at) if at else None
    async with PolicyOfficer(context) as officer:
        live = await live_law(officer, keys)
        then = await found.beside(live, officer)
        window = Window(officer=officer, key=secret, from_ns=since_ns(since))
        async with _sides(live, then, engine) as (before, after):
            compared = [
                await compare(past, live=before, draft=after, job_open=_open_job(logged), at_ns=at_ns)
                async for logged, past in window.decisions()
            ]
    report = Report.of(compared)
    if output == "json":
        show_json(_document(report, live, then, window.passed_over))
    else:
        _show(report, window.passed_over)
    return ExitCode.OK


@asynccontextmanager
async def _sides(live: Law, draft: Law, name: EngineName) -> AsyncGenerator[tuple[Side, Side]]:
    before = await opened(name, bundle=live.bundle)
    try:
        after = await opened(name, bundle=draft.bundle)
        try:
            yield Side(engine=before, overlay=live.overlay), Side(engine=after, overlay=draft.overlay)
        finally:
            await after.close()
    finally:
        await before.close()


def _open_job(logged: LoggedDecision) -> str:
    # A job is stranded by what it was sealed under; at dispatch it had one runner of these, and may go to the others.
    summary = logged.summary
    is_open = summary.job_state is not None and not summary.job_state.terminal
    return summary.job if is_open and summary.stage == "prepared" else ""


def _document(report: Report, live: Law, draft: Law, passed_over: list[str]) -> Any:
    counts = {
        "asked": report.asked,
        "newly_permitted": len(report.newly_permitted),
        "newly_denied": len(report.newly_denied),
        "otherwise": len(report.otherwise),
        "stranded": len(report.stranded),
        "no_input": len(passed_over),
    }
    lists = {
        name: [asdict(each) for each in getattr(report, name)]
        for name in ("newly_permitted", "newly_denied", "otherwise", "stranded")
    }
    asked = {"overlay": draft.overlay, "live": live.bundle.revision, "draft": draft.bundle.revision}
    return {**asked, "counts": counts, **lists}


def _show(report: Report, passed_over: list[str]) -> None:
    _show_part("newly permitted", report.newly_permitted, "places_new", "runners_new")
    _show_part("newly denied", report.newly_denied, "places_gone", "runners_gone")
    _show_part("otherwise", report.otherwise, "duties_new", "duties_gone")
    if report.stranded:
        show("jobs in flight that would be stranded:", style="bold")
        show_table(("job", "decision"), [(each.job, each.name) for each in report.stranded])
    tell = warn if report.newly_permitted or report.stranded else say
    tell(
        f"{report.asked} decisions asked again: {len(report.newly_permitted)} newly permitted,"
        f" {len(report.newly_denied)} newly denied, {len(report.otherwise)} otherwise,"
        f" {len(report.stranded)} jobs stranded; {len(passed_over)} have no input that is kept"
    )


def _show_part(title: str, found: tuple[Difference, ...], *fields: str) -> None:
    if not found:
        return
    show(f"{title}:", style="bold")
    rows = [(each.name, _verdicts(each), *(_listed(getattr(each, field)) for field in fields)) for each in found]
    show_table(("decision", "verdict", *(field.replace("_", " ") for field in fields)), rows)


def _verdicts(each: Difference) -> str:
    return each.live if each.live == each.draft else f"{each.live} -> {each.draft}"


def _listed(words: tuple[str, ...]) -> str:
    return codes(words) if words else ""
