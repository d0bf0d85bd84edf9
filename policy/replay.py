"""Replay: a decision of the past asked again, under the bundle that decided it, at the time at which it was made.

- Time is input, and so is all else that an engine hears: the body must come out equal byte for byte, however long ago
  it was made and whichever engine is asked now. Runners that were judged must be judged the same.
- The bundle counts only if its revisions are those that the signed body names; who signed the archive is no proof.
- A replay says what it found. It raises only where nothing could be asked.

    found = await replay(past, engine)
    found.same, found.differences
"""

import json
from dataclasses import dataclass

from carnet.core.decision import DecisionBody, DecisionRecord, Revisions, unverified_rows_of
from carnet.core.document import Json
from carnet.core.errors import StatementInvalid
from policy.bundle import Bundle
from policy.engine import PolicyEngine
from policy.recorded import recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class PastDecision:
    """A decision that was verified, by its name, and its opened input."""

    name: str
    record: DecisionRecord
    body: DecisionBody
    input: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay found: nothing different, or the fields of the body and the runners that are."""

    name: str
    differences: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether the decision was made again, byte for byte."""
        return not self.differences


def check_bundle(bundle: Bundle, revisions: Revisions) -> None:
    """Raise `StatementInvalid` unless the bundle is the one that a signed body names."""
    if bundle.revisions != revisions:
        raise StatementInvalid("The bundle is not the one that decided.", metadata={"bundle": revisions.bundle})


async def replay(past: PastDecision, engine: PolicyEngine) -> Replayed:
    """Ask again. Raises `FieldInvalid` for an input that is none, `PolicyEngineUnavailable` without an answer."""
    question = recorded(past.input)
    if question.query.now_ns != past.record.evaluated_ns:
        raise StatementInvalid("The sealed input is of another time than the record.")
    body = await engine.decide(question.query)
    differences = list(_fields(past.body.payload, body.payload))
    then = [(entry.spiffe_id, entry.permitted) for entry in past.record.shortlist]
    verdicts = await engine.judge(question.query, question.runners)
    differences += ["shortlist"] if then != [(v.spiffe_id, v.permitted) for v in verdicts] else []
    # The body names its own rows; these are the record's.
    differences += ["unverified_rows"] if past.record.unverified_rows_used != unverified_rows_of(verdicts) else []
    return Replayed(name=past.name, differences=tuple(differences))


def _fields(then: bytes, now: bytes) -> tuple[str, ...]:
    if then == now:
        return ()
    before: dict[str, Json] = json.loads(then)
    after: dict[str, Json] = json.loads(now)
    changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return tuple(changed) or ("bytes",)
