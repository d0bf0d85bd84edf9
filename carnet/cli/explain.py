"""`carnet job explain`: why not there, and why not on this runner: the first thing in the way, and all others.

    carnet job explain SG IN --facts facts.json
    carnet job explain --job NAME --runner spiffe://gpu-us.example/j/US/runner/...

The gateway is asked anew, and its signed decision answers; nothing of the job is sent. Which rules are in the way of a
place is read from the decision; what they say, in English or in French, is the gateway's word.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

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
    from carnet.answers import Prepared, Rejection, RuleDenial

Language = Literal["en", "fr"]

_SAID: Final[dict[Language, dict[str, str]]] = {
    "en": {
        "permitted": "permitted",
        "denied": "not permitted",
        "taken": "may take the job",
        "refused": "not taken",
        "cites": "cites",
    },
    "fr": {
        "permitted": "autorisé",
        "denied": "non autorisé",
        "taken": "peut prendre le travail",
        "refused": "écarté",
        "cites": "cite",
    },
}


async def explain(
    *places: str,
    facts: Path | None = None,
    job: str | None = None,
    runner: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    language: Language = "en",
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
    language
        of what rules say: en or fr
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
        asked = tuple(dict.fromkeys(places))
        prepared = await client.prepare(data, explain=runner, places=asked, language=language)
    found = [explain_place(prepared.decided.body, place) for place in places]
    of_runners = {name: _runner(prepared, name) for name in runner}
    if output == "json":
        show_json({
            "places": [_place_document(one, prepared.words) for one in found],
            "runners": [_runner_document(name, one) for name, one in of_runners.items()],
        })  # fmt: skip
    else:
        for one in found:
            _show_place(one, prepared.words, _SAID[language])
        for name, rejection in of_runners.items():
            _show_runner(name, rejection, _SAID[language])
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


def _told(denial: Denial, words: dict[str, "RuleDenial"]) -> "RuleDenial":
    """What a rule says of a place: in the gateway's words, and by its signed decision where there are none."""
    from carnet.answers import RuleDenial

    reason, said = denial.reason, words.get(denial.rule)
    if reason is None:
        return said or RuleDenial(rule=denial.rule, text="", citations=(), fix=())
    text, fix = (said.text, said.fix) if said else ("", reason.fix)
    return RuleDenial(rule=denial.rule, text=text, citations=reason.citations, fix=fix)


def _show_place(found: Explanation, words: dict[str, "RuleDenial"], said: dict[str, str]) -> None:
    if found.permitted:
        show(f"{found.place}: {said['permitted']}", style="bold green")
        return
    show(f"{found.place}: {said['denied']}", style="bold red")
    for number, denial in enumerate(found.denials, start=1):
        told = _told(denial, words)
        show(f"  {number}. {told.rule}  {told.text}".rstrip())
        _show_grounds(told, said)


def _show_runner(name: str, rejection: "Rejection | None", said: dict[str, str]) -> None:
    if rejection is None:
        show(f"{name}: {said['taken']}", style="bold green")
        return
    show(f"{name}: {said['refused']}", style="bold red")
    show(f"  1. {rejection.reason}: {rejection.text}")
    for denial in rejection.denials:
        show(f"     {denial.rule}  {denial.text}")
        _show_grounds(denial, said)


def _show_grounds(told: "RuleDenial", said: dict[str, str]) -> None:
    for step in told.fix:
        show(f"       -> {step}")
    if told.citations:
        show(f"       {said['cites']} {', '.join(told.citations)}", style="dim")


def _place_document(found: Explanation, words: dict[str, "RuleDenial"]) -> Json:
    denials: Json = [_denial(_told(denial, words)) for denial in found.denials]
    return {"place": found.place, "permitted": found.permitted, "denials": denials}


def _denial(told: "RuleDenial") -> Json:
    return {"rule": told.rule, "text": told.text, "citations": [*told.citations], "fix": [*told.fix]}


def _runner_document(name: str, rejection: "Rejection | None") -> Json:
    if rejection is None:
        return {"runner": name, "permitted": True}
    return {
        "runner": name,
        "permitted": False,
        "reason": rejection.reason,
        "text": rejection.text,
        "denials": [_denial(denial) for denial in rejection.denials],
    }
