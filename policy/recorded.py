"""A recorded question: the input that an engine heard once, as a question that can be asked again.

- An engine hears facets only, so what is recorded is all of it. What no rule reads (image, sizes, who asked) is not
  there, and is filled in with a word that says so.
- The question is the recorded one or none: asked again it must give the very bytes that were recorded. An input that
  this version of Carnet would ask otherwise is refused.

    query, runners = recorded(document)
    body = await engine.decide(query)
"""

import json
from dataclasses import dataclass
from typing import Final

from carnet.core import limits
from carnet.core.document import Document, Json, canonical, parse
from carnet.core.errors import FieldInvalid
from carnet.core.facts import JobFacts, parse_facts
from carnet.core.runner import RunnerFacts, parse_runner
from policy.engine import GatewayFacts, JobQuery, Screening, Volume, granted

UNKNOWN: Final = "not recorded"

_UNREAD: Final[dict[str, Json]] = {
    "image": "sha256:" + "0" * 64,
    "resources": {"cpu_millis": 10, "memory_bytes": 16 * limits.MIB, "work_bytes": limits.MIB, "gpus": 0},
    "caps": {"seconds": 1, "price_micro_usd": 0, "attempts": 1},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedQuestion:
    """What was asked: the job's question, and the runners that were judged under it, in their order."""

    query: JobQuery
    runners: tuple[RunnerFacts, ...]


def recorded(data: bytes) -> RecordedQuestion:
    """The question in an input document. Raises `FieldInvalid`, and nothing else, on any bytes."""
    top = parse(data, bytes_max=limits.input_bytes_max)
    document: dict[str, Json] = json.loads(data)
    top.text("schema", choices={"carnet.input/v1"})
    query = JobQuery(
        facts=_facts(document["job"] if top.has("job") else None),
        gateway=_gateway(top.document("gateway"), document["gateway"]),
        now_ns=top.document("context").integer("now_ns"),
    )
    runners = _runners(document.get("runners"))
    if canonical(query.document(runners)) != canonical(document):
        raise FieldInvalid("the recorded input is not one that is asked now", metadata={"field": "document"})
    return RecordedQuestion(query=query, runners=runners)


def _facts(job: Json) -> JobFacts:
    controller = job.get("controller") if isinstance(job, dict) else None
    if not isinstance(job, dict) or not isinstance(controller, dict):
        raise FieldInvalid("job must be an object with a controller", metadata={"field": "job"})
    facts: Json = {
        "schema": "carnet.facts/v1",
        **job,
        **_UNREAD,
        "controller": {**controller, "entity": UNKNOWN},
    }
    return parse_facts(canonical(facts))


def _gateway(document: Document, raw: Json) -> GatewayFacts:
    screening, volumes = document.text("screening", choices=set(Screening)), document.document("volumes")
    return GatewayFacts(
        issuer=UNKNOWN,
        subject=UNKNOWN,
        tenant=UNKNOWN,
        roles=(),
        screening=Screening(screening),
        volumes=tuple(Volume(category=name, records=volumes.integer(name)) for name in sorted(volumes.names())),
        overlay=_overlay(raw),
        exemptions=tuple(granted(entry) for entry in document.documents("exemptions")),
        approvals=document.integer("approvals"),
    )


def _overlay(gateway: Json) -> str:
    found = gateway.get("overlay") if isinstance(gateway, dict) else None
    if not isinstance(found, str):
        raise FieldInvalid("gateway.overlay must be a string", metadata={"field": "gateway.overlay"})
    return found


def _runners(found: Json) -> tuple[RunnerFacts, ...]:
    if found is None:
        return ()
    if not isinstance(found, list):
        raise FieldInvalid("runners must be a list", metadata={"field": "runners"})
    return tuple(parse_runner(canonical(runner)) for runner in found)
