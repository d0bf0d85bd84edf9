"""Both engines over one bundle, asked the same: where their answers differ in a byte, that is a disagreement."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from carnet.core.decision import DecisionBody, RunnerVerdict
from carnet.core.errors import PolicyEngineUnavailable
from carnet.core.runner import RunnerFacts
from policy.bundle import Bundle
from policy.cases import Case
from policy.engine import PolicyEngine
from policy.engines.child import SupervisedOpa
from policy.engines.embedded import EmbeddedEngine
from tests.differential.questions import Question

shown_max: Final = 2000

_NAMES: Final = (
    "verdict", "permitted", "blocked", "obligations", "reasons", "reasons_elsewhere", "exemptions_used",
    "unverified_rows_used", "valid_until_ns", "verdicts", "failure",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """What one engine said: the body's own bytes and the verdicts, or that it gave no answer, and why."""

    body: DecisionBody | None
    verdicts: tuple[RunnerVerdict, ...]
    failure: str

    def text(self) -> str:
        """For the comparison, and to show."""
        return f"{self.body.payload.decode() if self.body else None}\n{self.verdicts}\n{self.failure}"


class Both:
    """OPA and the embedded engine. Slow machines answer late: the deadline is not what is compared here."""

    def __init__(self, *, opa: Path, bundle: Bundle, embedded: Bundle | None = None) -> None:
        self.loop = asyncio.Runner()
        self.opa = SupervisedOpa(binary=opa, bundle=bundle, seconds_max=60)
        self.embedded = EmbeddedEngine(bundle=embedded or bundle, seconds_max=60)
        self.loop.run(self._start())

    def ask(self, question: Question) -> tuple[Answer, Answer]:
        """What OPA says, and what the embedded engine says."""
        return self.loop.run(self._ask_both(question, question.runners))

    def ask_case(self, case: Case) -> tuple[Answer, Answer]:
        """What both say of an officer's case."""
        return self.loop.run(self._ask_both(case.query, case.runners))

    def ask_embedded(self, question: Question) -> Answer:
        """What the embedded engine says."""
        return self.loop.run(answer(self.embedded, question, question.runners))

    def close(self) -> None:
        """Stop both."""
        self.loop.run(self._close())
        self.loop.close()

    async def _start(self) -> None:
        await self.opa.start()
        await self.embedded.start()

    async def _close(self) -> None:
        await self.opa.close()
        await self.embedded.close()

    async def _ask_both(self, question: Any, runners: tuple[RunnerFacts, ...]) -> tuple[Answer, Answer]:
        first, second = await asyncio.gather(
            answer(self.opa, question, runners), answer(self.embedded, question, runners)
        )
        return first, second


async def answer(engine: PolicyEngine, question: Any, runners: tuple[RunnerFacts, ...]) -> Answer:
    """Both stages of one question, from one engine."""
    try:
        body = await engine.decide(question)
        return Answer(body, await engine.judge(question, runners), "")
    except PolicyEngineUnavailable as error:
        return Answer(None, (), error.detail)


def shown(question: Question, one: Answer, other: Answer) -> str:
    """A disagreement, to look at: the question, and the parts of the answers that differ."""
    pairs = zip(_NAMES, _parts(one), _parts(other), strict=True)
    parts = [f"{name}: {_short(a)} or {_short(b)}" for name, a, b in pairs if a != b]
    return json.dumps(question.content, indent=1) + "\n" + "\n".join(parts)


def _parts(answer: Answer) -> list[object]:
    body: list[object] = [None] * (len(_NAMES) - 2)
    if answer.body is not None:
        document = json.loads(answer.body.payload)
        body = [document.get(name) for name in _NAMES[:-2]]
    return [*body, answer.verdicts, answer.failure]


def _short(part: object) -> str:
    text = str(part)
    return text if len(text) < shown_max else f"{text[:shown_max]}..."
