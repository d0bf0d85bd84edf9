"""From facts to an answer: which facts a command was given, and how a denial is told.

facts = chosen_facts(facts=path, declared=None, image=None, options=options)
"""

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from carnet.cli.declaration import Declaration, build_facts
from carnet.cli.options import Options
from carnet.cli.output import codes, say, warn
from carnet.cli.roles import installed
from carnet.core.errors import FieldInvalid
from carnet.core.facts import parse_facts
from carnet.core.limits import facts_bytes_max

if TYPE_CHECKING:
    from carnet.answers import Prepared


def chosen_facts(*, facts: Path | None, declared: Declaration | None, image: str | None, options: Options) -> bytes:
    """The facts in a file, byte for byte, or those that options declare. Raises `FieldInvalid`."""
    if facts is None:
        if image is None:
            raise FieldInvalid("Name the image, or give --facts.", metadata={"field": "image"})
        declaration = declared or Declaration()
        return build_facts(declaration, image=image, controller=declaration.controller or _tenant(options))
    if declared is not None:
        raise FieldInvalid("Facts come from --facts or from options, not from both.", metadata={"field": "facts"})
    with facts.open("rb") as file:
        data = file.read(facts_bytes_max + 1)
    parsed = parse_facts(data)
    if image is not None and parsed.image != image:
        raise FieldInvalid("The image differs from the one in the facts.", metadata={"field": "image"})
    return data


def tell_denial(prepared: "Prepared", *, facts: Path | None) -> None:
    """A denial on stderr: verdict, rules with citations, what would be permitted, and what to do next."""
    from carnet.cli.decided import decision_lines

    decided = prepared.decided
    for line in decision_lines(decided.body, beside=decided.record.unverified_rows_used):
        say(line.text, style=line.style)
    for step in next_steps(facts):
        say(step)


def tell_waiting(prepared: "Prepared") -> None:
    """On stderr: that other persons must approve the job first, by which rules, and where it would be permitted."""
    from carnet.cli.decided import decision_lines

    decided = prepared.decided
    for line in decision_lines(decided.body, beside=decided.record.unverified_rows_used):
        say(line.text, style=line.style)
    say("it is sealed for nobody until then: no runner could open it")


def next_steps(facts: Path | None) -> tuple[str, ...]:
    """Commands that lead on from a denial."""
    shown = str(facts) if facts else "facts.json"
    ask = f"next: change the facts, then ask again (nothing is sent): carnet job prepare --facts {shown}"
    write = () if facts else ("next: write the facts down: the same command with --print-facts > facts.json",)
    words = (f"next: the same in full sentences: carnet policy eval --facts {shown}",) if installed("policy") else ()
    return (*write, ask, *words)


def refuse_nobody(prepared: "Prepared") -> NoReturn:
    """Say why no runner that was offered can be used. Raises `NoCapacity`."""
    from carnet.core.errors import NoCapacity

    for found in prepared.rejected:
        where = f" in {found.jurisdiction}" if found.jurisdiction else ""
        warn(f"not {found.runner or 'a runner'}{where}: {found.reason}: {found.text} (said by the {found.by})")
    permitted = codes(prepared.decided.body.permitted)
    raise NoCapacity(f"The job is permitted in {permitted}, but no runner there can take it.")


def _tenant(options: Options) -> str:
    context = options.load()
    return context.pins.tenant(context.tenant_id).trust_domain
