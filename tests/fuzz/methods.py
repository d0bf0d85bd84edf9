"""Every method that a gateway answers, read from the contract: a new one is fuzzed, or the fuzzers' tables fail.

A service counts once a file of `gateway/` registers it; which messages go in and come out, its descriptor says.
"""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

ROOT = Path(__file__).resolve().parents[2]
_REGISTERED = re.compile(r"add_(\w+)Servicer_to_server\(self")


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method: where it is, what it takes, and what it answers with."""

    path: str
    asked: type[Message]
    answer: type[Message]
    streams_in: bool
    streams_out: bool


def registered() -> frozenset[str]:
    """The services that a gateway answers for."""
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "gateway").rglob("*.py"))
    return frozenset(name for text in sources for name in _REGISTERED.findall(text))


def _found() -> Iterator[tuple[str, Method]]:
    for path in sorted((ROOT / "carnet/v1").glob("*_pb2.py")):
        services = importlib.import_module(f"carnet.v1.{path.stem}").DESCRIPTOR.services_by_name
        for service in sorted(registered() & set(services)):
            for method in services[service].methods:
                yield f"{service}.{method.name}", _method(method)


def _method(found: MethodDescriptor) -> Method:
    return Method(
        path=f"/{found.containing_service.full_name}/{found.name}",
        asked=GetMessageClass(found.input_type),
        answer=GetMessageClass(found.output_type),
        streams_in=found.client_streaming,
        streams_out=found.server_streaming,
    )


METHODS: dict[str, Method] = dict(_found())
