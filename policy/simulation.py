"""Simulation: what a draft would have said of decisions that were made, beside what is live. It changes nothing.

- Each recorded question is asked twice, at its own time: of the live bundle as it is, and with the draft in it. What
  differs is the draft's doing alone, whatever was live when the decision was made.
- What would be newly permitted comes first: it is the risk. Then what would be newly denied. What waits for an approval
  is not permitted.
- A job that has not ended is stranded if the draft takes away the last of the runners that its decision permitted; one
  whose decision asked for an approval first, if it takes away the last of the places. What was gone before, by what is
  live, is not the draft's doing.
- A rule that begins later says nothing of the past at the past's own time: both may be asked at one later time instead.

    live, draft = Side(engine=now, overlay=""), Side(engine=then, overlay="klinikum")
    report = Report.of([await compare(past, live=live, draft=draft) for past in window])
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from carnet.core.decision import DecisionBody, RunnerVerdict, Verdict
from policy.engine import PolicyEngine
from policy.recorded import RecordedQuestion, recorded
from policy.replay import PastDecision


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One decision as the draft would make it: the verdicts, what comes and goes, and its job.

    Duties are `type value`; a place or runner that only an approval would permit is not permitted.
    """

    name: str
    live: str
    draft: str
    places_new: tuple[str, ...]
    places_gone: tuple[str, ...]
    runners_new: tuple[str, ...]
    runners_gone: tuple[str, ...]
    duties_new: tuple[str, ...]
    duties_gone: tuple[str, ...]
    job: str
    stranded: bool

    @property
    def widens(self) -> bool:
        """Whether anything would be permitted that is not."""
        return bool(self.places_new or self.runners_new)

    @property
    def narrows(self) -> bool:
        """Whether anything would no longer be permitted."""
        return bool(self.places_gone or self.runners_gone)

    @property
    def changes(self) -> bool:
        """Whether anything is different at all."""
        return self.widens or self.narrows or self.live != self.draft or bool(self.duties_new or self.duties_gone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a draft would change over a window. Lists go by name; a decision may be in more than one."""

    asked: int
    newly_permitted: tuple[Difference, ...]
    newly_denied: tuple[Difference, ...]
    otherwise: tuple[Difference, ...]
    stranded: tuple[Difference, ...]

    @classmethod
    def of(cls, found: Iterable[Difference]) -> "Report":
        """The report of these comparisons."""
        every = sorted(found, key=lambda each: each.name)
        return cls(
            asked=len(every),
            newly_permitted=tuple(each for each in every if each.widens),
            newly_denied=tuple(each for each in every if each.narrows),
            otherwise=tuple(each for each in every if each.changes and not each.widens and not each.narrows),
            stranded=tuple(each for each in every if each.stranded),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """An engine, and the overlay that decides there for the tenant, by name; nothing where it has none."""

    engine: PolicyEngine
    overlay: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    body: DecisionBody
    places: frozenset[str]
    runners: frozenset[str]
    duties: frozenset[str]


async def compare(
    past: PastDecision, *, live: Side, draft: Side, job_open: str = "", at_ns: int | None = None
) -> Difference:
    """Ask both of one decision; `job_open` names the job that was submitted under it, where that has not ended.

    `at_ns` is the time that both are asked at, ns since 1970 UTC; the decision's own, if not given.

    Raises `FieldInvalid` for an input that is none, and `PolicyEngineUnavailable` without an answer.
    """
    question = recorded(past.input)
    if at_ns is not None:
        question = replace(question, query=replace(question.query, now_ns=at_ns))
    before, after = await _ask(live, question), await _ask(draft, question)
    return Difference(
        name=past.name,
        live=before.body.verdict.value,
        draft=after.body.verdict.value,
        places_new=_sorted(after.places - before.places),
        places_gone=_sorted(before.places - after.places),
        runners_new=_sorted(after.runners - before.runners),
        runners_gone=_sorted(before.runners - after.runners),
        duties_new=_sorted(after.duties - before.duties),
        duties_gone=_sorted(before.duties - after.duties),
        job=job_open,
        stranded=bool(job_open) and _goes_on(past, before) and not _goes_on(past, after),
    )


async def _ask(side: Side, question: RecordedQuestion) -> _Answer:
    query = replace(question.query, gateway=replace(question.query.gateway, overlay=side.overlay))
    body = await side.engine.decide(query)
    verdicts = await side.engine.judge(query, question.runners)
    return _Answer(
        body=body,
        places=frozenset(body.permitted if body.verdict is Verdict.PERMIT else ()),
        runners=frozenset(v.spiffe_id for v in verdicts if _passes(body, v)),
        duties=frozenset(f"{duty.type} {duty.value}" for duty in body.obligations),
    )


def _goes_on(past: PastDecision, answer: _Answer) -> bool:
    """Whether a job that was sealed under a decision of the past has anywhere left to go."""
    if past.body.verdict is Verdict.REVIEW:
        # Nobody was judged for it yet: its manifest names no runner, and it is held to the places of its decision.
        return any(answer.body.lists(place) for place in past.body.permitted)
    return any(entry.permitted and entry.spiffe_id in answer.runners for entry in past.record.shortlist)


def _passes(body: DecisionBody, verdict: RunnerVerdict) -> bool:
    return verdict.permitted and body.permits(verdict.jurisdiction)


def _sorted(found: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(found))
