"""`carnet decision`: list, get, export, and replay on both engines, also of what was decided a year ago."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from carnet.cli.options import Options
from carnet.client import Client
from carnet.core.errors import CredentialInvalid, EnvelopeUnopened, FieldInvalid, StatementInvalid
from carnet.officer import Officer
from gateway import parts
from gateway.judge import Judge
from policy import release
from policy.bundle import Bundle
from policy.commands import decisions, past
from policy.commands.decisions import EngineName
from policy.engine import PolicyEngine
from policy.recorded import recorded
from policy.signing import PolicyKey
from tests.fixtures.malicious_gateway import running
from tests.fixtures.officers import Office, compliance_key, context_file, office
from tests.fixtures.parties import Cage, Parties, facts, nothing
from tests.opa_support import hospital, opa_binary

pytestmark = pytest.mark.opa

YEAR_NS = 366 * 86_400 * 10**9
HEALTH = json.dumps(hospital()).encode()
NOWHERE = facts(constraints={"only": ["CU"]})
BULK = json.dumps(hospital(data={"classes": ["health"], "subject_jurisdictions": ["US"], "records": 20_000})).encode()
ENGINES = [EngineName.OPA, EngineName.EMBEDDED]


@dataclass(frozen=True, kw_only=True)
class Desk:
    """An officer's desk: a gateway with decisions, a context file, a key."""

    office: Office
    options: Options
    key: Path
    folder: Path

    async def ask(self, *documents: bytes) -> list[str]:
        """Ask for each; the names of the decisions."""
        found = []
        async with Client(self.office.client()) as client:
            for document in documents:
                record = (await client.prepare(document)).decided.record
                found.append(f"tenants/{record.tenant_id.hex()}/decisions/{record.digest.hex()}")
        return found


@contextlib.asynccontextmanager
async def desk_of(parties: Parties, folder: Path) -> AsyncIterator[Desk]:
    async with office(parties, folder) as found:
        context = context_file(parties, found.address, folder)
        yield Desk(
            office=found,
            options=Options(context=context),
            key=parties.pki / "tenant/compliance.key",
            folder=folder,
        )


@pytest.fixture
async def desk(parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))
    async with desk_of(parties, tmp_path) as found:
        yield found


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


async def test_a_list_names_each_decision_and_what_came_of_it(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    names = await desk.ask(facts(), NOWHERE)
    capsys.readouterr()
    assert await decisions.list_decisions(output="json", options=desk.options) == 0
    found = printed(capsys)
    assert [(each["name"], each["verdict"]) for each in found] == [(names[1], "deny"), (names[0], "permit")]
    assert await decisions.list_decisions(output="name", verdict="deny", since="1h", options=desk.options) == 0
    assert capsys.readouterr().out.split() == [names[1]]
    assert await decisions.list_decisions(limit=1, options=desk.options) == 0
    table = capsys.readouterr().out
    assert names[1] in table
    assert names[0] not in table
    assert await decisions.list_decisions(output="json", until="1h", options=desk.options) == 0
    assert printed(capsys) == []


async def test_one_decision_is_shown_verified(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (name,) = await desk.ask(HEALTH)
    capsys.readouterr()
    assert await decisions.get(name, output="json", options=desk.options) == 0
    found = printed(capsys)
    assert found["body"] == found["event"]["result"]
    assert found["input_sealed"]
    assert found["engine"]["name"] == "embedded"
    assert await decisions.get(name, options=desk.options) == 0
    words = capsys.readouterr().out
    assert "EU-GDPR-CHV" in words
    assert "sealed" in words


async def test_an_export_is_one_event_a_line_as_it_was_logged(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    await desk.ask(facts(), HEALTH)
    capsys.readouterr()
    assert await decisions.export(since="1h", options=desk.options) == 0
    out = capsys.readouterr().out
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["path"] for event in events] == ["carnet/main/body"] * 2
    assert events[0]["timestamp"] < events[1]["timestamp"]
    assert "klinikum.example" not in out


async def test_the_command_is_found_and_ends_with_the_codes_of_carnet(desk: Desk) -> None:
    await desk.ask(facts())
    assert desk.options.context is not None

    async def run(*arguments: str) -> tuple[int, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "carnet.cli.main",
            *arguments,
            "--context",
            str(desk.options.context),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, complaint = await process.communicate()
        return int(process.returncode or 0), complaint

    key = str(desk.key)
    assert (await run("decision", "list"))[0] == 0
    assert (await run("decision", "replay", "--since", "1h", "--key", key, "--engine", "embedded"))[0] == 0
    assert (await run("decision", "replay", "--key", key))[0] == 2
    absent = f"tenants/{'0' * 32}/decisions/{'0' * 64}"
    assert (await run("decision", "get", absent))[0] == 4
    context_file(desk.office.parties, desk.office.address, desk.folder, roles=())
    code, complaint = await run("decision", "list")
    assert (code, b"ROLE_REQUIRED" in complaint) == (5, True)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_replay_is_equal_byte_for_byte_on_either_engine(
    desk: Desk, engine: EngineName, capsys: pytest.CaptureFixture[str]
) -> None:
    parties, gateway = desk.office.parties, desk.office.gateway.addresses.runner
    names = await desk.ask(facts(), NOWHERE, HEALTH, BULK)
    async with (
        running(parties, parties.runners["FR"], gateway, Cage(), desk.folder / "runner"),
        Client(desk.office.client()) as client,
    ):
        for _ in range(100):
            if (prepared := await client.prepare(facts())).runners:
                break
            await asyncio.sleep(0.05)
        assert prepared.runners, "a decision with a runner on its list"
    capsys.readouterr()
    assert (
        await decisions.replay_decisions(since="1h", key=desk.key, engine=engine, output="json", options=desk.options)
        == 0
    )
    found = printed(capsys)
    assert found["no_input"] == []
    assert len(found["replayed"]) > len(names)
    assert all(each["same"] for each in found["replayed"])
    assert await decisions.replay_decisions(names[2], key=desk.key, engine=engine, options=desk.options) == 0
    assert "same" in capsys.readouterr().out


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_replay_a_year_later_gives_the_same_bytes_on_either_engine(
    parties: Parties,
    tmp_path: Path,
    engine: EngineName,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))

    def last_year(asked: PolicyEngine, signer: Any, *, clock: Callable[[], int]) -> Judge:
        return Judge(asked, signer, clock=lambda: clock() - YEAR_NS)

    monkeypatch.setattr(parts, "Judge", last_year)
    async with desk_of(parties, tmp_path) as desk:
        for document in (facts(), HEALTH, BULK):
            with pytest.raises(StatementInvalid, match="not valid now"):
                await desk.ask(document)
        capsys.readouterr()
        options = desk.options
        assert (
            await decisions.replay_decisions(since="400d", key=desk.key, engine=engine, output="json", options=options)
            == 0
        )
        found = printed(capsys)["replayed"]
        assert [each["same"] for each in found] == [True, True, True]
        # Control: asked at today's time the same question has another answer.
        async with Officer(options.load()) as officer:
            then = await officer.decision(found[1]["name"])
        assert then.record.evaluated_ns < time.time_ns() - YEAR_NS + 3600 * 10**9
        question = recorded(then.open_input(compliance_key(parties))).query
        asked = await decisions.opened(engine, bundle=Bundle.load())
        try:
            today = await asked.decide(replace(question, now_ns=time.time_ns()))
            assert today.payload != then.body.payload
        finally:
            await asked.close()


async def test_attack_a_gateway_that_hands_out_another_bundle_than_the_one_that_decided(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (name,) = await desk.ask(HEALTH)
    packaged = Bundle.load()
    rules = {**packaged.rules, "carnet/gdpr/more.rego": b"package carnet.gdpr\n\nunused := 1\n"}
    other = Bundle.of(rules=rules, tables=packaged.tables, schemas=packaged.schemas, expires_ns=None)
    key = PolicyKey.from_pem((desk.office.parties.pki / "gateway/policy.key.pem").read_bytes())
    stamp = release.Stamp(sequence=1, issued_ns=1, expires_ns=2**62)
    kept = desk.office.state / "bundles" / f"{packaged.revision.removeprefix('sha256:')}.tar.gz"
    kept.write_bytes(release.pack(other, stamp=stamp, key=key))

    async def replay() -> int:
        return await decisions.replay_decisions(name, key=desk.key, engine=EngineName.EMBEDDED, options=desk.options)

    with pytest.raises(StatementInvalid, match="not the one that decided"):
        await replay()
    # Control: without the check the replay is made under it, and is told to differ.
    monkeypatch.setattr(past, "check_bundle", nothing)
    capsys.readouterr()
    assert await replay() == 1
    assert "differs: revisions" in capsys.readouterr().out
    kept.write_bytes(release.pack(other, stamp=stamp, key=PolicyKey.generate()))
    with pytest.raises(Exception, match="not trusted"):
        await replay()


async def test_a_replay_needs_the_key_a_pinned_policy_key_and_something_to_replay(desk: Desk) -> None:
    (name,) = await desk.ask(facts())

    async def replay(*names: str, key: Path = desk.key, options: Options = desk.options, **asked: Any) -> int:
        asked = {"engine": EngineName.EMBEDDED, "options": options, **asked}
        return await decisions.replay_decisions(*names, key=key, **asked)

    for nothing_named in ((), (name,)):
        with pytest.raises(FieldInvalid, match="since"):
            await replay(*nothing_named, since="1h" if nothing_named else None)
    with pytest.raises(FieldInvalid):
        await replay(since="a while")
    other = desk.folder / "other.key"
    other.write_bytes(bytes(32))
    with pytest.raises(CredentialInvalid):
        await replay(name, key=other)
    other.chmod(0o600)
    with pytest.raises(EnvelopeUnopened):
        await replay(name, key=other)
    assert desk.options.context is not None
    context = json.loads(desk.options.context.read_text())
    pins = json.loads(desk.office.parties.pins_path.read_text())
    del pins["gateway"]["policy_keys"]
    (desk.folder / "pins.json").write_text(json.dumps(pins))
    (desk.folder / "bare.json").write_text(json.dumps(context | {"pins": str(desk.folder / "pins.json")}))
    with pytest.raises(FieldInvalid, match="no policy key"):
        await replay(name, options=Options(context=desk.folder / "bare.json"))
