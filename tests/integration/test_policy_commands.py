"""`carnet policy submit` to `rollback`, `carnet exemption`, `carnet job approve`, against a gateway with its rules."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from carnet.cli import job
from carnet.cli.exits import exit_code
from carnet.cli.options import Options
from carnet.cli.run import run
from carnet.client import Client
from carnet.core.errors import CarnetError, FieldInvalid, RoleRequired, SecondPersonRequired
from carnet.core.job import JobState
from policy.commands import exemptions, revisions
from policy.overlay import Overlay
from tests.fixtures import drafts
from tests.fixtures.malicious_gateway import running
from tests.fixtures.officers import Office, context_file, office
from tests.fixtures.parties import TEMPLATE, Cage, Parties, facts

GENETIC = facts(data={"classes": ["genetic"], "subject_jurisdictions": ["DE"], "records": 10})


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A gateway, the overlay's folder, and the context files of several persons."""

    office: Office
    folder: Path

    @property
    def overlay(self) -> Path:
        """Where the draft is."""
        return self.folder / "overlay"

    def options(self, subject: str, *roles: str) -> Options:
        """Somebody's options."""
        home = self.folder / "-".join((subject, *roles)).replace(".", "-")
        home.mkdir(exist_ok=True)
        path = context_file(self.office.parties, self.office.address, home)
        document = json.loads(path.read_text())
        document["token"] = str(self.office.parties.person(subject, *roles))
        document["template_digest"] = TEMPLATE.hex()
        path.write_text(json.dumps(document))
        return Options(context=path)


@pytest.fixture
async def desk(parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    drafts.remember(monkeypatch)
    async with office(parties, tmp_path) as found:
        desk = Desk(office=found, folder=tmp_path)
        desk.overlay.mkdir()
        for path, data in drafts.draft().items():
            (desk.overlay / path).write_bytes(data)
        yield desk


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    """What was printed since, as JSON."""
    return json.loads(capsys.readouterr().out)


@pytest.mark.opa
async def test_an_officer_takes_a_folder_to_an_active_overlay_and_back(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    ada, ben = desk.options("ada", "policy.author"), desk.options("ben", "policy.approver")
    capsys.readouterr()
    assert await revisions.submit(desk.overlay, dry_run=True, output="json", options=ada) == 0
    digest = Overlay.load(desk.overlay).digest.hex()
    assert printed(capsys)["name"].endswith(digest)
    assert await revisions.submit(desk.overlay, comment="As the board said.", options=ada) == 0
    told = capsys.readouterr()
    assert "draft" in told.out
    assert "4 tests passed" in told.err
    assert await revisions.diff(digest, options=ada) == 0
    assert "+++ b/overlay.rego" in capsys.readouterr().out
    assert await revisions.shadow(digest, output="json", options=ada) == 0
    assert printed(capsys)["shadow"]
    assert await revisions.list_differences(digest, output="json", options=ada) == 0
    assert printed(capsys) == {"compared": 0, "differences": []}
    with pytest.raises(SecondPersonRequired):
        await revisions.approve(digest, options=desk.options("ada", "policy.approver"))
    assert await revisions.approve(digest, options=ben) == 0
    assert await revisions.activate(digest, output="json", options=ben) == 0
    text = capsys.readouterr().out
    active = json.loads(text[text.index("{") :])
    assert (active["state"], active["author"].partition(" ")[0]) == ("active", "ada")
    assert await revisions.list_live_rules(output="json", options=ada) == 0
    live = printed(capsys)
    assert live["bundle"] == active["bundle"]
    assert {rule["id"] for rule in live["rules"] if rule["overlay"] == "klinikum"} >= {"KLINIKUM-GENETIC"}
    assert await revisions.list_live_rules(output="name", options=ada) == 0
    assert await revisions.list_live_rules(options=ada) == 0
    assert "KLINIKUM-APPROVAL" in capsys.readouterr().out
    assert await revisions.list_revisions(output="name", options=ada) == 0
    assert capsys.readouterr().out.strip() == active["name"]
    assert await revisions.list_revisions(options=ada) == 0
    assert "As the board said." in capsys.readouterr().out
    assert await revisions.diff(digest, options=ada) == 0
    assert capsys.readouterr().out == ""
    assert await revisions.rollback(output="json", options=ben) == 0
    assert printed(capsys)["state"] == "retired"


async def test_a_draft_with_findings_ends_with_one_and_says_them(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk.overlay / "overlay_test.rego").unlink()
    ada = desk.options("ada", "policy.author")
    assert await revisions.submit(desk.overlay, options=ada) == 1
    assert "tests: " in capsys.readouterr().err
    shutil.rmtree(desk.overlay)
    with pytest.raises(FieldInvalid):
        await revisions.submit(desk.overlay, options=ada)


async def test_an_exemption_is_asked_for_approved_listed_and_revoked(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    ada, ben = desk.options("ada", "policy.author"), desk.options("ben", "policy.approver")
    capsys.readouterr()
    asked = await exemptions.ask(
        "EU-GDPR-CHV",
        place=("US",),
        reason="A trial.",
        expires="30d",
        uses=3,
        data_class=("personal",),
        purpose=("other",),
        output="json",
        options=ada,
    )
    found = printed(capsys)
    assert (asked, found["state"], found["quorum"], found["places"]) == (0, "asked", 2, ["US"])
    assert 29 < (found["expires_ns"] - time.time_ns()) / (86_400 * 10**9) <= 30
    identity = found["name"].rpartition("/")[2]
    assert await exemptions.approve(identity, options=ben) == 0
    assert "1 of 2: ben" in capsys.readouterr().out
    assert await exemptions.approve(identity, options=desk.options("cleo", "policy.approver")) == 0
    assert await exemptions.list_exemptions(output="json", options=ada) == 0
    text = capsys.readouterr().out
    assert [one["state"] for one in json.loads(text[text.index("[") :])] == ["approved"]
    assert await exemptions.list_exemptions(options=ada) == 0
    assert "0/3" in capsys.readouterr().out
    assert await exemptions.list_exemptions(output="name", options=ada) == 0
    assert capsys.readouterr().out.strip() == found["name"]
    assert await exemptions.revoke(found["name"], output="json", options=ben) == 0
    assert printed(capsys)["state"] == "revoked"
    with pytest.raises(RoleRequired) as caught:
        await exemptions.list_exemptions(options=desk.options("eve"))
    assert exit_code(caught.value) == 5


@pytest.mark.parametrize("name", ["", "x", "0" * 31, "tenants/a/exemptions/b"])
async def test_names_are_whole_or_the_id_alone(name: str, tmp_path: Path) -> None:
    options = Options(context=tmp_path / "none.json")
    with pytest.raises(FieldInvalid):
        exemptions.exemption_name(name, options)
    with pytest.raises(FieldInvalid):
        revisions.revision_name(name, options)


@pytest.mark.opa
async def test_a_run_in_review_says_that_it_waits_and_goes_on_once_it_is_approved(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    ada, ben = desk.options("ada", "policy.author"), desk.options("ben", "policy.approver")
    digest = Overlay.load(desk.overlay).digest.hex()
    await revisions.submit(desk.overlay, options=ada)
    await revisions.approve(digest, options=ben)
    await revisions.activate(digest, options=ben)
    facts_file = desk.folder / "facts.json"
    facts_file.write_bytes(GENETIC)
    owner, other = desk.options("developer"), desk.options("emil", "job.approver")
    parties = desk.office.parties
    agent = running(
        parties, parties.runners["FR"], desk.office.gateway.addresses.runner, Cage(), desk.folder / "runner"
    )
    capsys.readouterr()
    async with agent, Client(owner.load()) as client:
        image = json.loads(GENETIC)["image"]
        ours = asyncio.create_task(run(image, "true", facts=facts_file, output=desk.folder / "out", options=owner))
        name = await first(client)
        manifest = (await client.written(name)).manifest.digest.hex()
        with pytest.raises(CarnetError):
            await job.approve(name, manifest="00" * 32, options=other)
        assert await job.approve(name, manifest=manifest, options=other) == 0
        assert await asyncio.wait_for(ours, 30) == 0
        told = capsys.readouterr()
        assert "NEEDS REVIEW" in told.err
        assert "it is sealed for nobody until then" in told.err
        assert "it waits for another person" in told.err
        again = asyncio.create_task(run(image, "true", facts=facts_file, output=desk.folder / "second", options=owner))
        second = await first(client, but=name)
        assert await job.refuse(second, options=other) == 0
        with pytest.raises(CarnetError) as caught:
            await asyncio.wait_for(again, 30)
        assert exit_code(caught.value) == 3


async def first(client: Client, but: str = "") -> str:
    """The first job that awaits its approval."""
    for _ in range(400):
        for found in (await client.jobs()).jobs:
            if found.name != but and found.state is JobState.AWAITING_APPROVAL:
                return found.name
        await asyncio.sleep(0.05)
    pytest.fail("no job came")
