"""EmbeddedEngine: the rules run inside this process, for a machine that has no OPA.

- The engine is regorus. It takes no policy that the gate refuses (`policy/gate.py`): within the gate it answers as OPA
  does, byte for byte, and the differential tests hold it to that.
- It is given the rules with their imports written out: in a function that is called from another package, an imported
  name is undefined here.
- Every thread has an engine of its own, made and dropped in it: one that another thread touches panics.
- An evaluation holds the interpreter lock (about 20 ms), so this is for small machines; `CachedPolicy` goes around it.
- One deadline over everything; every failure, a panic too, is `PolicyEngineUnavailable`. An undefined answer is one.

    engine = EmbeddedEngine(bundle=Bundle.load())
    await engine.start()
    body = await engine.decide(query)
"""

import asyncio
import json
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from importlib.metadata import version
from typing import Final

import regorus

from carnet.core import limits
from carnet.core.decision import DecisionBody, Revisions, RunnerVerdict
from carnet.core.document import Json, canonical, parse
from carnet.core.errors import Bug, FieldInvalid, PolicyEngineUnavailable
from carnet.core.runner import RunnerFacts
from policy import gate
from policy.bundle import Bundle
from policy.engine import JobQuery, mask_document
from policy.engines.answers import answer_bytes_max, body_of, mask_of, verdicts_of
from policy.engines.breaker import Breaker, Unreachable
from policy.masking import MaskRule

threads_max: Final = 2

_DISTRIBUTION: Final = "gordon-to-regorus"
_DECIDE: Final = "data.carnet.main.body"
_JUDGE: Final = "data.carnet.runners.answer"
_MASK: Final = "data.system.log.mask"

_Work = Callable[[regorus.Engine], str]
_Question = tuple[_Work, "Future[str]"]


class EmbeddedEngine:
    """A `PolicyEngine` in this process, over exactly the given bundle."""

    def __init__(
        self,
        *,
        bundle: Bundle,
        seconds_max: float = limits.policy_seconds_max,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bundle = bundle
        self._seconds_max = seconds_max
        self._breaker = Breaker(clock)
        self._questions: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False

    @property
    def name(self) -> str:
        """`embedded`."""
        return "embedded"

    @property
    def version(self) -> str:
        """The version of the library that holds the engine."""
        return version(_DISTRIBUTION)

    @property
    def revisions(self) -> Revisions:
        """The rules and data that every answer is from."""
        return self._bundle.revisions

    async def start(self) -> None:
        """Pass the rules through the gate and load them once. Raises `PolicyEngineUnavailable`."""
        try:
            await asyncio.to_thread(gate.check, self._bundle.rules)
        except FieldInvalid as error:
            raise PolicyEngineUnavailable(detail=f"the rules do not pass the gate: {error.text}") from error
        tables = canonical(self._bundle.data()).decode()
        for number in range(threads_max):
            serving = (self._bundle.rules, tables, self._questions)
            self._threads.append(threading.Thread(target=_serve, args=serving, name=f"policy-{number}", daemon=True))
            self._threads[-1].start()
        await self._run(lambda engine: ",".join(engine.get_packages()))

    async def decide(self, query: JobQuery) -> DecisionBody:
        """Stage 1. Raises `PolicyEngineUnavailable`, or `FieldInvalid` where the query is not one."""
        result = await self._ask(_DECIDE, self._checked(query.document()))
        return body_of(result, bundle=self._bundle, now_ns=query.now_ns, overlay=query.overlay)

    async def judge(self, query: JobQuery, runners: tuple[RunnerFacts, ...]) -> tuple[RunnerVerdict, ...]:
        """Stage 2, in one question. Raises like `decide`, and `Bug` for more than a short list."""
        if len(runners) > limits.shortlist_max:
            raise Bug(detail=f"{len(runners)} runners are no short list")
        if not runners:
            return ()
        result = await self._ask(_JUDGE, self._checked(query.document(runners)))
        return verdicts_of(result, bundle=self._bundle, runners=runners, now_ns=query.now_ns, overlay=query.overlay)

    async def mask(self, query: JobQuery, body: DecisionBody) -> tuple[MaskRule, ...]:
        """What the decision log does not show. Raises `PolicyEngineUnavailable`."""
        return mask_of(await self._ask(_MASK, mask_document(query, body)))

    async def close(self) -> None:
        """Let the threads end. A question that is running ends by itself."""
        self._closed = True
        for _ in self._threads:
            self._questions.put(None)
        self._threads = []

    def _checked(self, document: dict[str, Json]) -> dict[str, Json]:
        self._bundle.schemas.check("input", document)
        return document

    async def _ask(self, rule: str, document: dict[str, Json]) -> Json:
        text = canonical(document).decode()

        def evaluate(engine: regorus.Engine) -> str:
            engine.set_input_json(text)
            return str(engine.eval_rule_as_json(rule))

        answer = (await self._run(evaluate)).encode()
        try:
            # A mask is a list and a decision an object; `parse` refuses floats and repeated keys in both.
            parse(b'{"result":' + answer + b"}", bytes_max=answer_bytes_max)
        except FieldInvalid as error:
            raise PolicyEngineUnavailable(detail=f"embedded: {error.text}") from error
        result: Json = json.loads(answer)
        if not isinstance(result, dict | list):
            raise PolicyEngineUnavailable(detail="embedded: the answer is undefined")
        return result

    async def _run(self, work: _Work) -> str:
        if self._closed:
            raise PolicyEngineUnavailable(detail="embedded: the engine was closed")
        with self._breaker.guard():
            answer: Future[str] = Future()
            self._questions.put((work, answer))
            try:
                async with asyncio.timeout(self._seconds_max):
                    return await asyncio.wrap_future(answer)
            except TimeoutError as error:
                raise Unreachable(detail="embedded: TimeoutError") from error


def _serve(rules: dict[str, bytes], tables: str, questions: "queue.SimpleQueue[_Question | None]") -> None:
    engine = None
    while (asked := questions.get()) is not None:
        work, answer = asked
        if not answer.set_running_or_notify_cancel():
            continue
        complaint = found = ""
        try:
            engine = engine or _loaded(rules, tables)
            found = work(engine)
        except BaseException as error:  # noqa: BLE001  # a panic of the engine is no Exception
            # Only words leave the thread: an error's traceback would take the engine along.
            complaint = f"embedded: {next(iter(str(error).strip().splitlines()), type(error).__name__)}"
            engine = None
        if complaint:
            answer.set_exception(PolicyEngineUnavailable(detail=complaint))
        else:
            answer.set_result(found)


def _loaded(rules: dict[str, bytes], tables: str) -> regorus.Engine:
    engine = regorus.Engine()
    engine.set_rego_v0(False)
    for path, text in rules.items():
        engine.add_policy(path, gate.without_imports(path, text).decode())
    engine.add_data_json(tables)
    return engine
