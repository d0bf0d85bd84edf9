"""Documents that two engines would read differently, or that would exhaust one: none of them reaches an engine.

Each is refused with the path of the field, and with a proof that nobody was asked: the real gateway over a policy that
counts its questions, and the real command with an OPA that leaves a mark when it is started. The controls are the same
documents unspoilt.
"""

import json
import stat
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from carnet.client import Client
from carnet.core.errors import CallerError, CarnetError, FieldInvalid, PolicyEngineUnavailable
from carnet.core.facts import parse_facts
from carnet.rpc import calling
from carnet.v1 import jobs_pb2
from policy.bundle import Bundle, home
from policy.commands.app import app
from policy.engine import GatewayFacts, GrantedExemption, JobQuery, Screening, Volume
from policy.engines.choice import EngineName, opened
from policy.engines.opa import Endpoint, OpaServer
from tests.fixtures.inprocess import InProcess, gateway
from tests.fixtures.parties import Parties, facts
from tests.integration.test_opa_server import Wire
from tests.opa_answers import BUNDLE
from tests.opa_support import query_of, runner_of

TEN_MEGABYTES = 10 * 1024 * 1024
MARK = '"@@"'
Path_ = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A good document, and where in it a number, a text and a word of a closed list stand."""

    document: dict[str, Any]
    number: Path_
    text: Path_
    word: Path_

    def put(self, path: Path_, raw: str) -> bytes:
        """The document with these bytes in the place of a value."""
        changed: Any = deepcopy(self.document)
        inside = changed
        for step in path[:-1]:
            inside = inside[step]
        inside[path[-1]] = "@@"
        said = json.dumps(changed)
        assert said.count(MARK) == 1
        return said.replace(MARK, raw).encode()

    def spoilt(self) -> Iterator[tuple[str, bytes, str]]:
        """What is wrong, the bytes, and the path of the field that must be named."""
        number, text, word = dotted(self.number), dotted(self.text), dotted(self.word)
        yield "a repeated key", self.put(self.number, f'1, "{self.number[-1]}": 2'), number
        yield "2 to the 64th", self.put(self.number, str(2**64)), number
        yield "1e400", self.put(self.number, "1e400"), number
        yield "NaN", self.put(self.number, "NaN"), number
        yield "infinity", self.put(self.number, "-Infinity"), number
        yield "a fraction", self.put(self.number, "1.5"), number
        yield "5,000 digits", self.put(self.number, "9" * 5000), number
        yield "a text for a number", self.put(self.number, '"many"'), number
        yield "a flag for a number", self.put(self.number, "true"), number
        yield "NUL", self.put(self.text, '"a\\u0000b"'), text
        yield "a lone surrogate", self.put(self.text, '"a\\ud800b"'), text
        yield "a number for a text", self.put(self.text, "7"), text
        yield "a list for a text", self.put(self.text, "[]"), text
        yield "a word that nobody knows", self.put(self.word, '"unheard_of"'), word
        yield "a field that nobody knows", json.dumps(self.document | {"surprise": 1}).encode(), "surprise"
        yield "10 megabytes", self.put(self.text, f'"{"x" * TEN_MEGABYTES}"'), "document"
        yield "a depth of 10,000", self.put(self.text, "[" * 10_000 + "]" * 10_000), "document"
        yield "no object", b"[]", "document"
        yield "no JSON", b"{]", "document"


def dotted(path: Path_) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def example(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((home / "examples" / name).read_bytes())
    return document


FACTS = Shape(
    document=example("german-hospital.json"),
    number=("data", "records"),
    text=("controller", "entity"),
    word=("data", "classes", 0),
)
RUNNER = Shape(
    document=example("runner-fr.json"),
    number=("operator", "owners", 0, "percent"),
    text=("operator", "entity"),
    word=("evidence",),
)
CASE = {"name": "A", "expect": {"verdict": "permit"}, "gateway": {"screening": "clear", "approvals": 0}}
CASES = Shape(
    document={"about": "x", "ordinary": {"at": "2026-11-22"}, "cases": [CASE]},
    number=("cases", 0, "gateway", "approvals"),
    text=("cases", 0, "name"),
    word=("cases", 0, "gateway", "screening"),
)
TABLE = Shape(
    document=json.loads((home / "data" / "adequacy.json").read_bytes()),
    number=("rows", "GB", "from_ns"),
    text=("rows", "GB", "citation"),
    word=("rows", "GB", "status"),
)
GRANTED = GrantedExemption(id="E-1", rule="EU-GDPR-CHV", places=("IN",), classes=(), purposes=(), expires_ns=1)
GATEWAY_FACTS = GatewayFacts(
    issuer="i", subject="s", tenant="t", roles=(), screening=Screening.CLEAR, overlay="klinikum", exemptions=(GRANTED,)
)
GATEWAY = Shape(
    document=json.loads(GATEWAY_FACTS.document()),
    number=("exemptions", 0, "expires_ns"),
    text=("requester", "subject"),
    word=("screening",),
)


def named(shape: Shape) -> Any:
    return pytest.mark.parametrize(
        ("data", "field"), [pytest.param(data, field, id=what) for what, data, field in shape.spoilt()]
    )


@pytest.fixture
async def served(parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[InProcess]:
    parties.mint()
    async with gateway(parties, tmp_path / "gateway", monkeypatch) as found:
        yield found


async def prepare(parties: Parties, served: InProcess, data: bytes) -> None:
    """PrepareJob with these bytes as facts: the client's own check is not asked."""
    async with Client(parties.context(served.enterprise)) as client, calling():
        await client._jobs.PrepareJob(jobs_pb2.PrepareJobRequest(facts=data), timeout=15, metadata=client._metadata())


async def test_facts_that_the_gateway_refuses_reach_no_engine(parties: Parties, served: InProcess) -> None:
    good = Shape(document=json.loads(facts()), number=FACTS.number, text=FACTS.text, word=FACTS.word)
    for what, data, field in good.spoilt():
        if what == "10 megabytes":
            data, field = data[: 64 * 1024 + 1], "facts"  # one more than a call may hold
        with pytest.raises(CallerError) as error:
            await prepare(parties, served, data)
        assert error.value.metadata.get("field") == field, what
    with pytest.raises(CarnetError):
        await prepare(parties, served, good.put(good.text, f'"{"x" * TEN_MEGABYTES}"'))
    assert served.policy.asked == []
    await prepare(parties, served, json.dumps(good.document).encode())
    assert len(served.policy.asked) == 1, "the control"


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An OPA that does nothing but leave this file behind."""
    mark, binary = tmp_path / "was-started", tmp_path / "opa"
    binary.write_text(f"#!/bin/sh\n: >'{mark}'\nexit 1\n")
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CARNET_OPA", str(binary))
    return mark


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        app([str(argument) for argument in arguments], exit_on_error=False, print_error=False)
    return int(ended.value.code or 0)


@named(FACTS)
def test_facts_that_the_command_refuses_start_no_engine(
    data: bytes, field: str, started: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "facts.json").write_bytes(data)
    assert run("eval", "--facts", tmp_path / "facts.json", "--engine", "opa") == 2
    assert f"FIELD_INVALID: {field} " in capsys.readouterr().err
    assert not started.exists()


@named(RUNNER)
def test_a_runners_facts_that_the_command_refuses_start_no_engine(
    data: bytes, field: str, started: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runner.json").write_bytes(data)
    good = home / "examples" / "german-hospital.json"
    assert run("eval", "--facts", good, "--runner", tmp_path / "runner.json", "--engine", "opa") == 2
    assert f"FIELD_INVALID: {field} " in capsys.readouterr().err
    assert not started.exists()


@named(CASES)
def test_an_officers_file_that_is_none_starts_no_engine(
    data: bytes, field: str, started: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cases.json").write_bytes(data)
    assert run("test", "--cases", tmp_path / "cases.json", "--engine", "opa") == 2
    assert f"FIELD_INVALID: {field} " in capsys.readouterr().err.replace("$.", "")
    assert not started.exists()


def test_the_control_good_files_start_one(started: Path, tmp_path: Path) -> None:
    good = home / "examples"
    asked = ("--facts", good / "german-hospital.json", "--runner", good / "runner-fr.json", "--engine", "opa")
    assert run("eval", *asked) == 6
    assert started.exists()
    started.unlink()
    (tmp_path / "cases.json").write_text(json.dumps(CASES.document))
    assert run("test", "--cases", tmp_path / "cases.json", "--engine", "opa") == 6
    assert started.exists()


def bundle_with(folder: Path, data: bytes) -> Path:
    for part in ("rego", "data", "schema"):
        copytree(home / part, folder / part, dirs_exist_ok=True)
    (folder / "data" / "adequacy.json").write_bytes(data)
    return folder


def was_started(mark: Path) -> bool:
    return mark.exists()


@named(TABLE)
async def test_a_table_that_is_malformed_starts_no_engine(
    data: bytes, field: str, started: Path, tmp_path: Path
) -> None:
    folder = bundle_with(tmp_path / "policy", data)
    with pytest.raises(FieldInvalid) as error:
        await opened(EngineName.OPA, bundle=Bundle.load(folder))
    assert error.value.metadata["field"].removeprefix("$.") == field
    assert not was_started(started)


async def test_the_control_a_good_table_starts_one(started: Path, tmp_path: Path) -> None:
    folder = bundle_with(tmp_path / "policy", json.dumps(TABLE.document).encode())
    with pytest.raises(PolicyEngineUnavailable):
        await opened(EngineName.OPA, bundle=Bundle.load(folder))
    assert was_started(started)


@named(GATEWAY)
def test_what_the_gateway_once_told_policy_is_read_as_strictly(data: bytes, field: str) -> None:
    with pytest.raises(FieldInvalid) as error:
        GatewayFacts.parse(data)
    assert error.value.metadata["field"] == field
    assert GatewayFacts.parse(GATEWAY_FACTS.document()) == GATEWAY_FACTS, "the control"


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    found = Wire()
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def engine(wire: Wire) -> AsyncIterator[OpaServer]:
    found = OpaServer(endpoint=Endpoint(host="127.0.0.1", port=wire.port), bundle=BUNDLE, seconds_max=1.0)
    yield found
    await found.close()


def unfit() -> dict[str, JobQuery]:
    """Questions that our own code could put together by mistake, past every parser."""
    good = query_of()
    told, data = good.gateway, good.facts.data
    return {
        "$.gateway.volumes.health": replace(
            good, gateway=replace(told, volumes=(Volume(category="health", records=2**64),))
        ),
        "$.gateway.volumes.unheard_of": replace(
            good, gateway=replace(told, volumes=(Volume(category="unheard_of", records=1),))
        ),
        "$.context.now_ns": replace(good, now_ns=-1),
        "$.job.data.records": replace(good, facts=replace(good.facts, data=replace(data, records=2**64))),
        "$.job.data.classes": replace(good, facts=replace(good.facts, data=replace(data, classes=()))),
        "$.job.purpose": replace(good, facts=replace(good.facts, purpose="unheard_of")),
        "$.job.data.origin_jurisdiction": replace(
            good, facts=replace(good.facts, data=replace(data, origin_jurisdiction="Germany"))
        ),
    }


@pytest.mark.parametrize("field", unfit())
async def test_a_question_that_is_put_together_wrongly_is_not_asked(wire: Wire, engine: OpaServer, field: str) -> None:
    with pytest.raises(FieldInvalid) as error:
        await engine.decide(unfit()[field])
    assert error.value.metadata["field"] == field
    assert wire.requests == []
    await engine.decide(query_of())
    assert len(wire.requests) == 1, "the control"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"operator_country": "Germany"}, "$.runners[0].operator.country"),
        ({"covered_person": "maybe"}, "$.runners[0].operator.covered_person"),
        ({"gpus": 2**64}, "$.runners[0].gpus"),
        ({"gpus": -1}, "$.runners[0].gpus"),
        ({"gpu_models": ("x" * TEN_MEGABYTES,)}, "$.runners[0].gpu_models[0]"),
    ],
)
async def test_a_runner_that_is_put_together_wrongly_is_not_asked_about(
    wire: Wire, engine: OpaServer, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(FieldInvalid) as error:
        await engine.judge(query_of(), (runner_of("FR", **change),))
    assert error.value.metadata["field"] == field
    assert wire.requests == []


def test_the_path_of_a_stranger_is_cut_and_printable() -> None:
    name = "a\\u0000b" + "x" * 5000
    with pytest.raises(FieldInvalid) as error:
        parse_facts(json.dumps(FACTS.document).encode()[:-1] + f', "{name}": 1}}'.encode())
    field = error.value.metadata["field"]
    assert field.startswith("a?bxxx")
    assert len(field) < 300
