"""Why not there: every rule that keeps a place out of a decision, the first one first.

The answer comes from the decision itself: its `blocked` sets say which rules name a place, its reasons say why and what
would make it permitted, those of `reasons_elsewhere` where the job did not ask about the place. The decision's order is
kept; a rule without a reason comes last. Each reason is told of this place alone. Under review nothing else is in the
way than the rule that asks for the approval of other persons.

    why = explain(body, "SG")
    if not why.permitted:
        print(why.denials[0].rule)
"""

from dataclasses import dataclass, replace

from carnet.core.decision import DecisionBody, Effect, Reason, Verdict
from carnet.core.facts import check_jurisdiction, country_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """One rule in the way. The reason is there where the decision gives one: today's do of every rule that blocks."""

    rule: str
    reason: Reason | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One place: whether the decision permits it, and all that is in the way, the first thing first."""

    place: str
    permitted: bool
    denials: tuple[Denial, ...]


def explain(body: DecisionBody, place: str) -> Explanation:
    """Why a place (ISO 3166-1, or 3166-2) is not permitted. Raises `FieldInvalid` where it is no place."""
    check_jurisdiction(place)
    permitted = body.permits(place)
    blocked = dict(body.blocked)
    # A region that no rule names stands or falls with its country.
    asked = place if any(place in places for places in blocked.values()) else country_of(place)
    rules = [] if permitted else [rule for rule, places in blocked.items() if asked in places]
    effects = {Effect.DENY}
    if body.verdict is Verdict.REVIEW and asked in body.permitted:
        rules = [duty.rule for duty in body.obligations if duty.type == "approval"]
        effects = {Effect.OBLIGE}
    said = (*body.reasons, *body.reasons_elsewhere)
    reasons = {reason.rule: _told_of(reason, place) for reason in said if reason.effect in effects}
    order = {rule: i for i, rule in enumerate(reasons)}
    ranked = sorted(rules, key=lambda rule: (order.get(rule, len(order)), rule))
    return Explanation(
        place=place,
        permitted=permitted,
        denials=tuple(Denial(rule=rule, reason=reasons.get(rule)) for rule in ranked),
    )


def _told_of(reason: Reason, place: str) -> Reason:
    """The reason for this place, whichever places of its rule the decision names; one of every place stays so."""
    return replace(reason, jurisdictions=(place,)) if reason.jurisdictions else reason
