"""`carnet policy why` and `matrix`: the questions that officers ask before anybody runs anything.

carnet policy why SG IN --facts facts.json            # why not Singapore?
carnet policy why --facts facts.json --runner runner.json
carnet policy matrix --facts facts.json --country FR --country US --class health --class technical
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from carnet.core.decision import DecisionBody, Effect, Reason
from carnet.core.document import Json
from carnet.core.errors import FieldInvalid
from carnet.core.explanation import Denial, Explanation, explain
from carnet.core.facts import DATA_CLASSES, JobFacts
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
    read_facts,
    telling,
)
from policy.engine import JobQuery
from policy.engines.choice import EngineName
from policy.rendering import Language, Renderer


def why(
    *places: str,
    facts: Path,
    runner: Path | None = None,
    overlay: OverlayFolder = None,
    at: str | None = None,
    engine: EngineName = EngineName.AUTO,
    output: Output = "table",
    language: Language = "en",
) -> None:
    """Say what keeps a job out of places, and a runner out of the job: the first thing in the way, and all others.

    Parameters
    ----------
    places: countries (ISO 3166-1) or regions (3166-2)
    facts: a file with carnet.facts/v1
    runner: a file with one runner's facts
    overlay: a folder with an organisation's own rules
    at: a day or a time to decide at; now, if not given
    engine: auto, opa or embedded
    output: json or table
    language: en or fr
    """
    with telling():
        if not places and runner is None:
            raise FieldInvalid("name a place, or a runner", metadata={"field": "places"})
        bundle, name = loaded(overlay)
        query = JobQuery(facts=read_facts(facts), gateway=local(overlay=name), now_ns=moment(at))
        found = asyncio.run(_why(bundle, engine, query, places, parse_runner(read(runner)) if runner else None))
    renderer = Renderer(bundle=bundle, language=language)
    if output == "json":
        print_json([_document(renderer, one) for one in found])
    else:
        for one in found:
            _print(renderer, one)
    if not all(one.permitted for one in found):
        raise SystemExit(DENIED)


def matrix(
    *,
    facts: Path,
    country: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    data_class: Annotated[tuple[str, ...], Parameter(name="--class", negative=())] = (),
    overlay: OverlayFolder = None,
    at: str | None = None,
    engine: EngineName = EngineName.AUTO,
    output: Output = "table",
) -> None:
    """Show what would be permitted: a row a country, a column a class of data, all else as the facts say.

    A cell is `permit`, or the first rule in the way; that may be one that asks for an approval.

    Parameters
    ----------
    facts: a file with carnet.facts/v1; its classes are replaced, and `only` is left out
    country: the countries asked about; all that the facts' `only` names, or all that there are
    data_class: the classes asked about; all that there are
    overlay: a folder with an organisation's own rules
    at: a day or a time to decide at; now, if not given
    engine: auto, opa or embedded
    output: json or table
    """
    with telling():
        bundle, name = loaded(overlay)
        given = read_facts(facts)
        places = country or given.constraints.only or tuple(sorted(bundle.rows("jurisdictions")))
        classes = data_class or tuple(sorted(DATA_CLASSES))
        if unknown := set(classes) - DATA_CLASSES:
            raise FieldInvalid(f"{sorted(unknown)[0]} is no class of data", metadata={"field": "class"})
        bodies = asyncio.run(_bodies(bundle, engine, _questions(given, classes, name, moment(at))))
        cells = {place: {name: explain(body, place) for name, body in bodies.items()} for place in places}
    if output == "json":
        print_json({place: {name: _cell(found) for name, found in row.items()} for place, row in cells.items()})
        return
    table = Table("", *classes, box=None)
    for place, row in cells.items():
        table.add_row(place, *(_cell(found) for found in row.values()))
    Console(width=max(80, 24 * (len(classes) + 1))).print(table)


async def _why(
    bundle: Bundle, name: EngineName, query: JobQuery, places: tuple[str, ...], runner: RunnerFacts | None
) -> list[Explanation]:
    async with asking(bundle, name) as engine:
        body = await engine.decide(query)
        found = [explain(body, place) for place in places]
        for verdict in await engine.judge(query, (runner,)) if runner else ():
            denials = [Denial(rule=r.rule, reason=r) for r in verdict.reasons if r.effect is Effect.DENY]
            found.append(Explanation(place=verdict.spiffe_id, permitted=verdict.permitted, denials=tuple(denials)))
        return found


def _questions(facts: JobFacts, classes: tuple[str, ...], overlay: str, now_ns: int) -> dict[str, JobQuery]:
    everywhere = replace(facts, constraints=replace(facts.constraints, only=()))
    return {
        word: JobQuery(
            facts=replace(everywhere, data=replace(facts.data, classes=(word,))),
            gateway=local(overlay=overlay),
            now_ns=now_ns,
        )
        for word in classes
    }


async def _bodies(bundle: Bundle, name: EngineName, queries: dict[str, JobQuery]) -> dict[str, DecisionBody]:
    async with asking(bundle, name) as engine:
        return {word: await engine.decide(query) for word, query in queries.items()}


def _cell(found: Explanation) -> str:
    return "permit" if found.permitted else found.denials[0].rule if found.denials else "unknown place"


def _document(renderer: Renderer, found: Explanation) -> Json:
    denials: list[Json] = []
    for denial in found.denials:
        words: dict[str, Json] = {"rule": denial.rule}
        if denial.reason is not None:
            sentence = renderer.reason(_alone(denial.reason, found.place))
            words |= {"text": sentence.text, "fix": [*sentence.fix], "citations": [*denial.reason.citations]}
        denials.append(words)
    return {"place": found.place, "permitted": found.permitted, "denials": denials}


def _print(renderer: Renderer, found: Explanation) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    place = renderer.places((found.place,))
    said = renderer.words("place_permitted" if found.permitted else "place_denied", place=place)
    console.print(said, style="bold")
    for number, denial in enumerate(found.denials, start=1):
        if denial.reason is None:
            console.print(f"  {number}. {denial.rule}")
            continue
        sentence = renderer.reason(_alone(denial.reason, found.place))
        console.print(f"  {number}. {denial.rule}  {sentence.text}")
        for fix in sentence.fix:
            console.print(f"       -> {fix}")
        for citation in sentence.citations:
            console.print(f"       {citation}", style="dim")


def _alone(reason: Reason, place: str) -> Reason:
    """The reason for this place alone: the sentence need not list the others."""
    return replace(reason, jurisdictions=(place,)) if place in reason.jurisdictions else reason
