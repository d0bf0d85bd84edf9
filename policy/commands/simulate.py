"""`carnet policy simulate`: what a draft would have said of the decisions of the past, before anybody activates it.

    carnet policy simulate overlay/ --since 30d --key compliance.key

The live bundle is the one that made the newest decision of the tenant; the draft takes the place of the overlay of its
name there. Both are asked here, on the officer's machine. Nothing is changed, and no gateway hears of the draft.
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
from carnet.core.errors import NotFound
from carnet.officer import LoggedDecision, Officer
from policy.bundle import Bundle
from policy.commands.past import Window, compliance_key, fetched, policy_keys, since_ns
from policy.engines.choice import EngineName, opened
from policy.overlay import Overlay
from policy.signing import Keys
from policy.simulation import Difference, Report, Side, compare


async def simulate(
    draft: Path,
    /,
    *,
    key: Path,
    since: str = "30d",
    engine: EngineName = EngineName.AUTO,
    output: Annotated[Format, Parameter(name=["--output", "-o"])] = "table",
    options: Options = DEFAULT,
) -> int:
    """Ask a draft of every decision in a window, beside what is live: newly permitted first, then newly denied.

    Parameters
    ----------
    draft
        the folder of an overlay
    key
        the tenant's compliance key, which opens what was asked
    since
        a day, a time, or how long ago: 30d, 12h
    engine
        auto (an OPA where there is one), opa or embedded
    output
        table or json
    """
    overlay = Overlay.load(draft)
    context = options.load()
    keys, secret = policy_keys(context), compliance_key(key)
    async with Officer(context) as officer:
        live = await live_bundle(officer, keys)
        window = Window(officer=officer, key=secret, from_ns=since_ns(since))
        async with _sides(live, overlay, engine) as (now, then):
            found = [
                await compare(past, live=now, draft=then, job_open=_open_job(logged))
                async for logged, past in window.decisions()
            ]
    report = Report.of(found)
    if output == "json":
        show_json(_document(report, overlay.name, live, window.passed_over))
    else:
        _show(report, window.passed_over)
    return ExitCode.OK


async def live_bundle(officer: Officer, keys: Keys) -> Bundle:
    """The bundle that made the tenant's newest decision, verified. Raises `NotFound` where nothing was decided yet."""
    page = await officer.decisions(page_size=1)
    if not page.decisions:
        raise NotFound("Nothing was decided yet: there is nothing to simulate.")
    newest = await officer.decision(page.decisions[0].name)
    return await fetched(officer, newest.body.revisions, keys)


@asynccontextmanager
async def _sides(live: Bundle, overlay: Overlay, name: EngineName) -> AsyncGenerator[tuple[Side, Side]]:
    draft = live.with_overlays([overlay])
    before = await opened(name, bundle=live)
    try:
        after = await opened(name, bundle=draft)
        try:
            own = overlay.name if overlay.name in live.overlays else ""
            yield Side(engine=before, overlay=own), Side(engine=after, overlay=overlay.name)
        finally:
            await after.close()
    finally:
        await before.close()


def _open_job(logged: LoggedDecision) -> str:
    # A job is stranded by what it was sealed under; at dispatch it had one runner of these, and may go to the others.
    summary = logged.summary
    is_open = summary.job_state is not None and not summary.job_state.terminal
    return summary.job if is_open and summary.stage == "prepared" else ""


def _document(report: Report, overlay: str, live: Bundle, passed_over: list[str]) -> Any:
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
    return {"overlay": overlay, "live": live.revision, "counts": counts, **lists}


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
