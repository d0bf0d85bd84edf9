"""A decision on the terminal: the verdict, what each rule did and cites, and what would be permitted.

- The words are the decision's own (rule, citations, message id, parameters, fix): a customer has no catalogue of
  sentences. Where the policy role is installed, `carnet policy eval` says the same in full sentences.
- What would be permitted follows from the decision too: the places that one rule alone stands in the way of.

    for line in decision_lines(body): ...
"""

from collections.abc import Iterator
from dataclasses import dataclass

from carnet.cli.output import codes, when
from carnet.core.decision import DecisionBody, Effect, Parameter, Reason, Verdict
from carnet.core.facts import country_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line for a person, and how it should look where there are colours."""

    text: str
    style: str = ""


def decision_lines(body: DecisionBody, *, beside: tuple[str, ...] = ()) -> Iterator[Line]:
    """The whole decision, in lines. `beside` are the unverified rows that its record names, for the runners."""
    yield verdict_line(body)
    for reason in sorted(body.reasons, key=lambda reason: reason.effect is not Effect.DENY):
        yield from _reason_lines(reason)
    if body.verdict is Verdict.DENY:
        yield from _would_lines(body)
    for duty in body.obligations:
        yield Line(text=f"  duty    {duty.type} {duty.value}, seen to by the {duty.enforcer}  ({duty.rule})")
    for used in body.exemptions_used:
        yield Line(text=f"  exempt  from {used.rule} until {when(used.expires_ns)}  ({used.id})")
    if rows := tuple(sorted({*body.unverified_rows_used, *beside})):
        yield Line(text=f"  used    data that nobody has verified: {codes(rows)}", style="dim")
    yield Line(text=f"  rules   {body.revisions.rules}, valid until {when(body.valid_until_ns)}", style="dim")
    yield Line(text=f"  note    {body.disclaimer}: these are rules that cite the law, not legal advice.", style="dim")


def verdict_line(body: DecisionBody) -> Line:
    """The verdict: where the job may run, or which rules stand in the way."""
    if body.verdict is Verdict.PERMIT:
        return Line(text=f"PERMITTED in {codes(body.permitted)}", style="bold green")
    if body.verdict is Verdict.REVIEW:
        return Line(text=f"NEEDS REVIEW: once approved, permitted in {codes(body.permitted)}", style="bold yellow")
    rules = dict.fromkeys(reason.rule for reason in body.reasons if reason.effect is Effect.DENY)
    return Line(text=f"DENIED by {', '.join(rules) or 'no rule that permits it'}", style="bold red")


def would_permit(body: DecisionBody) -> dict[str, tuple[str, ...]]:
    """By rule, the places that this rule alone blocks: with its conditions met, these would be permitted."""
    rules: dict[str, set[str]] = {}
    for rule, blocked in body.blocked:
        for place in blocked:
            rules.setdefault(place, set()).add(rule)
    found: dict[str, list[str]] = {}
    for place in sorted(rules):
        # A region follows its country: what blocks the country blocks the region.
        in_the_way = rules[place] | rules.get(country_of(place), set())
        if len(in_the_way) == 1:
            found.setdefault(next(iter(in_the_way)), []).append(place)
    return {rule: tuple(found[rule]) for rule in sorted(found)}


def _would_lines(body: DecisionBody) -> Iterator[Line]:
    rules = would_permit(body)
    if rules:
        yield Line(text="  would be permitted", style="bold")
    for rule, alone in rules.items():
        yield Line(text=f"          were it not for {rule}: {codes(alone)}")


def _reason_lines(reason: Reason) -> Iterator[Line]:
    style = {Effect.DENY: "red", Effect.WARN: "yellow", Effect.OBLIGE: ""}[reason.effect]
    where = f" in {codes(reason.jurisdictions)}" if reason.jurisdictions else ""
    yield Line(text=f"  {reason.effect:6}  {reason.rule}{where}", style=style)
    yield Line(text=f"          {reason.message}{_parameters(reason)}")
    for citation in reason.citations:
        yield Line(text=f"          cites {citation}", style="dim")
    for fix in reason.fix:
        yield Line(text=f"          -> {fix}")


def _parameters(reason: Reason) -> str:
    # fix_ids are the catalogue's names of the sentences that stand in `fix`.
    shown = [f"{name}: {_value(value)}" for name, value in reason.parameters if name != "fix_ids"]
    return f" ({'; '.join(shown)})" if shown else ""


def _value(value: Parameter) -> str:
    return codes(value) if isinstance(value, tuple) else str(value)
