"""`carnet job explain`: why not there, and why not on this runner: the first thing in the way, and all others.

    carnet job explain SG IN --facts facts.json
    carnet job explain --job NAME --runner spiffe://gpu-us.example/j/US/runner/...

The gateway is asked anew, and its signed decision answers; nothing of the job is sent.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from carnet.cli.exits import ExitCode
from carnet.cli.options import DEFAULT, Options, connected, job_name
from carnet.cli.output import Format, show, show_json
from carnet.cli.preparing import chosen_facts
from carnet.core.document import Json
from carnet.core.errors import FieldInvalid
from carnet.core.explanation import Denial, Explanation
from carnet.core.explanation import explain as explain_place

if TYPE_CHECKING:
    from carnet.answers import Prepared, Rejection


async def explain(
    *places: str,
    facts: Path | None = None,
    job: str | None = None,
    runner: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    output: Annotated[Format, Parameter(name=["--output", "-o"])] = "table",
    options: Options = DEFAULT,
) -> int:
    """Say what keeps a job out of places and off runners: the first thing in the way, and all others. Ends with 3.

    Parameters
    ----------
    places
        countries (ISO 3166-1) or regions (3166-2)
    facts
        a file with carnet.facts/v1
    job
        a job that was sent; its facts are asked about
    runner
        a runner's SPIFFE id; can be given more than once
    output
        table or json
    """
    if not places and not runner:
        raise FieldInvalid("Name a place, or a --runner.", metadata={"field": "places"})
    if (facts is None) == (job is None):
        raise FieldInvalid("Give either --facts or --job.", metadata={"field": "facts"})
    async with connected(options) as client:
        if job is None:
            data = chosen_facts(facts=facts, declared=None, image=None, options=options)
        else:
            data = await client.facts(job_name(job, options))
        prepared = await client.prepare(data, explain=runner)
    found = [explain_place(prepared.decided.body, place) for place in places]
    of_runners = {name: _runner(prepared, name) for name in runner}
    if output == "json":
        show_json({
            "places": [_place_document(one) for one in found],
            "runners": [_runner_document(name, one) for name, one in of_runners.items()],
        })  # fmt: skip
    else:
        for one in found:
            _show_place(one)
        for name, rejection in of_runners.items():
            _show_runner(name, rejection)
    in_the_way = any(not one.permitted for one in found) or any(of_runners.values())
    return ExitCode.DENIED if in_the_way else ExitCode.OK


def _runner(prepared: "Prepared", name: str) -> "Rejection | None":
    from carnet.answers import Rejection

    for rejection in prepared.rejected:
        if rejection.runner == name:
            return rejection
    if any(found.spiffe_id == name for found in prepared.runners):
        return None
    text = "No runner of this name is attached, or what it showed did not pass."
    return Rejection(runner=name, jurisdiction="", reason="NOT_ATTACHED", text=text, by="gateway")


def _show_place(found: Explanation) -> None:
    if found.permitted:
        show(f"{found.place}: permitted", style="bold green")
        return
    show(f"{found.place}: not permitted", style="bold red")
    for number, denial in enumerate(found.denials, start=1):
        show(f"  {number}. {denial.rule}")
        if denial.reason is not None:
            _show_grounds(denial.reason.citations, denial.reason.fix)


def _show_runner(name: str, rejection: "Rejection | None") -> None:
    if rejection is None:
        show(f"{name}: may take the job", style="bold green")
        return
    show(f"{name}: not taken", style="bold red")
    show(f"  1. {rejection.reason}: {rejection.text}")
    for denial in rejection.denials:
        show(f"     {denial.rule}  {denial.text}")
        _show_grounds(denial.citations, denial.fix)


def _show_grounds(citations: tuple[str, ...], fix: tuple[str, ...]) -> None:
    for step in fix:
        show(f"       -> {step}")
    if citations:
        show(f"       cites {', '.join(citations)}", style="dim")


def _place_document(found: Explanation) -> Json:
    return {"place": found.place, "permitted": found.permitted, "denials": [_denial(d) for d in found.denials]}


def _denial(denial: Denial) -> Json:
    if denial.reason is None:
        return {"rule": denial.rule}
    return {"rule": denial.rule, "citations": [*denial.reason.citations], "fix": [*denial.reason.fix]}


def _runner_document(name: str, rejection: "Rejection | None") -> Json:
    if rejection is None:
        return {"runner": name, "permitted": True}
    return {
        "runner": name,
        "permitted": False,
        "reason": rejection.reason,
        "text": rejection.text,
        "denials": [
            {"rule": d.rule, "text": d.text, "citations": [*d.citations], "fix": [*d.fix]} for d in rejection.denials
        ],
    }
