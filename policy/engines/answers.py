"""Answers: what an engine said, believed only after every check.

- The schema, then the parser of core, then the revisions, then that every rule in force, of
  the overlay as well, was evaluated, then that the
  answer is still valid and names only places that the data knows.
- A mask is taken whole or not at all: nothing is logged under half of one.
- Verdicts must be of the runners that were asked about, in that order.
- Whatever fails is `PolicyEngineUnavailable`: an answer that is not right is no answer.
"""

from typing import Final

from carnet.core.decision import DecisionBody, Revisions, RunnerVerdict, body_bytes_max, obligation, parse_body, reason
from carnet.core.document import Document, Json, canonical, parse
from carnet.core.errors import FieldInvalid, PolicyEngineUnavailable
from carnet.core.runner import RunnerFacts
from policy.bundle import Bundle
from policy.masking import MaskRule, mask_rules

answer_bytes_max: Final = 4 * body_bytes_max


def body_of(result: Json, *, bundle: Bundle, now_ns: int, overlay: str = "") -> DecisionBody:
    """The decision body in a stage-1 answer. Raises `PolicyEngineUnavailable`."""
    try:
        bundle.schemas.check("decision", result)
        body = parse_body(canonical(result))
    except FieldInvalid as error:
        raise PolicyEngineUnavailable(detail=f"decision: {error.text}") from error
    _expect(body.revisions == bundle.revisions, "the decision is from other rules or data")
    rules = bundle.rules_in_force(stage="job", now_ns=now_ns, overlay=overlay)
    _expect(body.rules_evaluated == rules, "not every rule was evaluated")
    _expect(body.valid_until_ns > now_ns, "the decision is not valid now")
    known = bundle.rows("jurisdictions").keys()
    _expect(all(place[:2] in known for place in body.permitted), "an unknown place is permitted")
    return body


def verdicts_of(
    result: Json, *, bundle: Bundle, runners: tuple[RunnerFacts, ...], now_ns: int, overlay: str = ""
) -> tuple[RunnerVerdict, ...]:
    """The verdicts in a stage-2 answer, one a runner in the order asked. Raises `PolicyEngineUnavailable`."""
    try:
        bundle.schemas.check("verdicts", result)
        top = parse(canonical(result), bytes_max=body_bytes_max)
        rules = tuple(sorted(top.texts("rules_evaluated")))
        revisions = top.document("revisions")
        found = Revisions(rules=revisions.text("rules"), data=revisions.text("data"))
        documents = top.documents("verdicts")
        _expect(len(documents) == len(runners), "the verdicts are not as many as the runners")
        verdicts = tuple(_verdict(d, runner) for d, runner in zip(documents, runners, strict=True))
    except FieldInvalid as error:
        raise PolicyEngineUnavailable(detail=f"verdicts: {error.text}") from error
    _expect(found == bundle.revisions, "the verdicts are from other rules or data")
    required = bundle.rules_in_force(stage="runner", now_ns=now_ns, overlay=overlay)
    _expect(rules == required, "not every rule was evaluated")
    _expect(all(verdict.valid_until_ns > now_ns for verdict in verdicts), "a verdict is not valid now")
    return verdicts


def mask_of(result: Json) -> tuple[MaskRule, ...]:
    """The rules in an answer for a mask. Raises `PolicyEngineUnavailable`."""
    try:
        return mask_rules(result)
    except FieldInvalid as error:
        raise PolicyEngineUnavailable(detail=f"mask: {error.text}") from error


def _verdict(document: Document, runner: RunnerFacts) -> RunnerVerdict:
    _expect(document.text("spiffe_id", bytes_max=2048) == runner.spiffe_id, "a verdict is of another runner")
    permitted = document.text("verdict") == "permit"
    reasons = tuple(reason(d) for d in document.documents("reasons"))
    denials = any(found.effect == "deny" for found in reasons)
    _expect(permitted != denials, "a verdict and its reasons disagree")
    return RunnerVerdict(
        spiffe_id=runner.spiffe_id,
        jurisdiction=runner.jurisdiction,
        card_digest=runner.card_digest,
        permitted=permitted,
        obligations=tuple(obligation(d) for d in document.documents("obligations")),
        reasons=reasons,
        valid_until_ns=document.integer("valid_until_ns", low=1),
        # The schema of the bundle asks for it; one from before the field has none.
        unverified_rows_used=_rows(document) if document.has("unverified_rows_used") else (),
    )


def _rows(document: Document) -> tuple[str, ...]:
    return tuple(sorted(document.texts("unverified_rows_used")))


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise PolicyEngineUnavailable(detail=what)
