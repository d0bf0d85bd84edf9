"""`carnet policy simulate`: a draft asked of what was decided, on both engines; nothing of the gateway changes."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from carnet.cli.options import Options
from carnet.client import Client
from carnet.core.errors import FieldInvalid, NotFound, StatementInvalid
from carnet.core.job import JobState
from carnet.officer import Officer
from carnet.policyanswers import RuleInForce
from carnet.policyofficer import PolicyOfficer
from policy import release
from policy.bundle import Bundle, home
from policy.catalogue import nanoseconds
from policy.commands import simulate
from policy.commands.drafts import Law, ReleaseDraft, live_law, read_draft
from policy.engines.choice import EngineName
from policy.overlay import Overlay
from policy.signing import BundleUnsigned, PolicyKey
from tests.fixtures import drafts
from tests.fixtures.malicious_gateway import running
from tests.fixtures.officers import Office, context_file, office
from tests.fixtures.parties import Cage, Parties, facts, work
from tests.opa_support import opa_binary

pytestmark = pytest.mark.opa

EXAMPLE = home / "examples" / "overlay"
GENETIC = facts(data={"classes": ["genetic"], "subject_jurisdictions": ["DE"], "records": 5})


@contextlib.asynccontextmanager
async def desk(parties: Parties, folder: Path, **changes: Any) -> AsyncIterator[tuple[Office, Options, Path]]:
    async with office(parties, folder, **changes) as found:
        options = Options(context=context_file(parties, found.address, folder))
        yield found, options, parties.pki / "tenant/compliance.key"


async def asked(found: Office, *documents: bytes) -> None:
    async with Client(found.client()) as client:
        for document in documents:
            await client.prepare(document)


def draft(folder: Path, *changes: tuple[str, str]) -> Path:
    """The example overlay with some of its words replaced."""
    copy = folder / "draft"
    shutil.copytree(EXAMPLE, copy)
    text = (copy / "overlay.rego").read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (copy / "overlay.rego").write_text(text)
    return copy


FRANCE = ('some place in {"SG"}', 'some place in {"FR"}')
EVERYBODY = ("({place | genetic; some", "({place | some")


@pytest.mark.parametrize("engine", [EngineName.OPA, EngineName.EMBEDDED])
async def test_a_draft_that_narrows_is_told_by_decision_and_strands_jobs_in_flight(
    parties: Parties,
    tmp_path: Path,
    engine: EngineName,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))
    async with desk(parties, tmp_path) as (found, options, key):
        await asked(found, facts(constraints={"only": ["DE"]}))
        async with Client(found.client()) as client:
            async with running(parties, parties.runners["FR"], found.gateway.addresses.runner, Cage(), tmp_path / "r"):
                for _ in range(100):
                    if (prepared := await client.prepare(facts())).runners:
                        break
                    await asyncio.sleep(0.05)
            # The runner has gone: the job waits in its queue.
            name = await client.submit(await client.seal(work(), prepared))
        before = {path: path.stat().st_mtime_ns for path in (found.state / "bundles").iterdir()}
        capsys.readouterr()
        changed = draft(tmp_path, FRANCE, EVERYBODY)
        assert await simulate.simulate(changed, key=key, engine=engine, output="json", options=options) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["overlay"] == "klinikum"
        assert report["counts"]["newly_permitted"] == 0
        assert report["counts"]["newly_denied"] == report["counts"]["asked"] - 1, "Germany alone is left as it is"
        assert {"FR"} <= set(report["newly_denied"][0]["places_gone"])
        assert [each["job"] for each in report["stranded"]] == [name]
        assert report["stranded"][0]["runners_gone"] == [parties.runners["FR"].name]
        assert await simulate.simulate(changed, key=key, engine=engine, options=options) == 0
        words = capsys.readouterr()
        assert words.out.index("newly denied") < words.out.index("stranded")
        assert name in words.out
        assert "1 jobs stranded" in words.err
        assert {path: path.stat().st_mtime_ns for path in (found.state / "bundles").iterdir()} == before


# What the example asks of genetic data is asked of no job of these tests.
RELAXED = ('"genetic" in input.job.data.classes', '"children" in input.job.data.classes')


async def live_revision(found: Office) -> str:
    """The bundle that decides now."""
    async with PolicyOfficer(found.officer()) as officer:
        return (await officer.rules())[0]


async def activated(found: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example overlay decides for the tenant: two persons have seen to it."""
    drafts.remember(monkeypatch)
    parties = found.parties
    ada = parties.context(found.address, token=parties.person("ada", "policy.author"))
    ben = parties.context(found.address, token=parties.person("ben", "policy.approver"))
    async with PolicyOfficer(ada) as author, PolicyOfficer(ben) as approver:
        revision = await author.submit(drafts.NAME, drafts.draft())
        await approver.approve(revision.name)
        await approver.activate(revision.name)


def called(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """The example's rules under another name."""
    copy = folder / name
    copy.mkdir()
    for path, data in drafts.draft(*changes).items():
        text = data.decode().replace(drafts.NAME, name).replace(drafts.NAME.upper(), name.upper())
        (copy / path).write_text(text)
    return copy


async def reported(draft: Path, capsys: pytest.CaptureFixture[str], **asked_of: Any) -> Any:
    """What a simulation of a draft prints."""
    capsys.readouterr()
    assert await simulate.simulate(draft, engine=EngineName.EMBEDDED, output="json", **asked_of) == 0
    return json.loads(capsys.readouterr().out)


async def test_a_draft_that_takes_a_block_back_shows_what_it_newly_permits_first(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is live is what was activated, though nothing was decided by it yet, and whatever the draft is called."""
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))
    async with desk(parties, tmp_path) as (found, options, key):
        await asked(found, facts(), GENETIC)
        before = await live_revision(found)
        await activated(found, monkeypatch)
        live = await live_revision(found)
        assert live != before
        for name in ("klinikum", "spital"):
            report = await reported(called(tmp_path, name, RELAXED), capsys, key=key, options=options)
            assert (report["overlay"], report["live"], report["counts"]["asked"]) == (name, live, 2)
            (newly,) = report["newly_permitted"]
            assert (newly["live"], newly["draft"]) == ("review", "permit")
            assert {"DE", "FR"} <= set(newly["places_new"])
            assert newly["duties_gone"] == ["approval 1"]
            assert list(report).index("newly_permitted") < list(report).index("newly_denied")
            assert report["counts"]["newly_denied"] == 0
        same = await reported(called(tmp_path, "hopital"), capsys, key=key, options=options)
        assert same["counts"] == dict.fromkeys(same["counts"], 0) | {"asked": 2}


async def test_a_bundle_that_neither_decided_nor_is_live_is_not_handed_out(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))
    async with desk(parties, tmp_path) as (found, _, _):
        before = await live_revision(found)
        async with Officer(found.officer()) as officer:
            assert await officer.bundle(before)
            await activated(found, monkeypatch)
            with pytest.raises(NotFound):
                await officer.bundle(before)
            assert await officer.bundle(await live_revision(found))


async def test_a_job_that_waits_for_an_approval_is_stranded_by_no_draft_that_leaves_its_places(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))
    async with desk(parties, tmp_path) as (found, options, key):
        await activated(found, monkeypatch)
        async with Client(found.client()) as client:
            name = await client.submit(await client.seal(work(), await client.prepare(GENETIC)))
            assert (await client.job(name)).state is JobState.AWAITING_APPROVAL
        same = await reported(called(tmp_path, "klinikum"), capsys, key=key, options=options)
        assert same["counts"] == dict.fromkeys(same["counts"], 0) | {"asked": 1}
        nowhere = called(tmp_path, "spital", ('some place in {"SG"}', "some place in places.universe"))
        found_nowhere = await reported(nowhere, capsys, key=key, options=options)
        assert [each["job"] for each in found_nowhere["stranded"]] == [name]


# --- the rules of all -------------------------------------------------------------------------------------------------

SECRET = PolicyKey.generate()
HEALTH = facts(data={"classes": ["health"], "subject_jurisdictions": ["DE"], "records": 5})


def changed_law(**first_day: Any) -> Bundle:
    """The rules of all, with an adequacy decision for Singapore."""
    base = Bundle.load()
    rows = base.rows("adequacy")
    table = {**base.tables["adequacy"], "rows": {**rows, "SG": {**rows["AR"], **first_day}}}
    return Bundle.of(rules=base.rules, tables={**base.tables, "adequacy": table}, schemas=base.schemas, expires_ns=None)


def released(folder: Path, bundle: Bundle) -> tuple[Path, Path]:
    """The file of a release, and of the key that signed it."""
    stamp = release.Stamp(sequence=1, issued_ns=1, expires_ns=2)
    file, public = folder / "bundle.tar.gz", folder / "officers.pem"
    file.write_bytes(release.pack(bundle, stamp=stamp, key=SECRET))
    public.write_bytes(SECRET.public_pem())
    return file, public


async def test_a_change_of_law_is_asked_of_the_past_with_the_own_overlay_in_it(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))
    file, public = released(tmp_path, changed_law())
    async with desk(parties, tmp_path) as (found, options, key):
        await asked(found, HEALTH, GENETIC)
        report = await reported(file, capsys, public=public, key=key, options=options)
        assert (report["overlay"], report["draft"]) == ("", changed_law().revision)
        assert [each["places_new"] for each in report["newly_permitted"]] == [["SG"], ["SG"]]
        await activated(found, monkeypatch)
        report = await reported(file, capsys, public=public, key=key, options=options)
        assert report["overlay"] == "klinikum"
        (newly,) = report["newly_permitted"]
        assert (newly["places_new"], newly["live"]) == (["SG"], "permit"), "genetic data waits, with either law"
        assert report["counts"]["otherwise"] == 0
        same, _ = released(tmp_path, Bundle.load())
        report = await reported(same, capsys, public=public, key=key, options=options)
        assert report["counts"] == dict.fromkeys(report["counts"], 0) | {"asked": 2}


async def test_law_that_begins_later_is_seen_at_a_later_time(
    parties: Parties, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day = {"from": "2031-01-01", "from_ns": nanoseconds("2031-01-01")}
    file, public = released(tmp_path, changed_law(**day))
    async with desk(parties, tmp_path) as (found, options, key):
        await asked(found, HEALTH)
        asked_of: dict[str, Any] = {"public": public, "key": key, "options": options}
        assert not (await reported(file, capsys, **asked_of))["newly_permitted"]
        assert not (await reported(file, capsys, at="2030-12-31", **asked_of))["newly_permitted"]
        (newly,) = (await reported(file, capsys, at="2031-01-01", **asked_of))["newly_permitted"]
        assert newly["places_new"] == ["SG"]


async def test_a_release_is_signed_by_the_key_that_is_named_and_holds_no_overlay(tmp_path: Path) -> None:
    file, public = released(tmp_path, changed_law())
    assert read_draft(file, public)
    with pytest.raises(FieldInvalid, match="--public"):
        read_draft(file, None)
    with pytest.raises(FieldInvalid, match="Only a release"):
        read_draft(EXAMPLE, public)
    other = tmp_path / "other.pem"
    other.write_bytes(PolicyKey.generate().public_pem())
    with pytest.raises(BundleUnsigned):
        read_draft(file, other)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises((BundleUnsigned, FieldInvalid)):
        read_draft(file, public)
    mixed, _ = released(tmp_path, Bundle.load().with_overlays([Overlay.load(EXAMPLE)]))
    with pytest.raises(FieldInvalid, match="holds overlays"):
        read_draft(mixed, public)


async def test_the_live_bundle_is_the_one_that_the_gateway_named_and_holds_the_tenants_overlay() -> None:
    base = Bundle.load()
    archive = release.pack(base, stamp=release.Stamp(sequence=1, issued_ns=1, expires_ns=2), key=SECRET)

    async def live(revision: str, *overlays: str) -> Law:
        rule = RuleInForce(
            id="A-B", title="", stage="job", effect="deny", citations=(), status="in_force", review_by="",
            exemptible=False, overlay="", in_force=True,
        )  # fmt: skip
        officer: Any = Told(revision, tuple(replace(rule, overlay=name) for name in overlays), archive)
        return await live_law(officer, {SECRET.keyid: SECRET.public})

    assert (await live(base.revision, "")).overlay == ""
    for revision, overlay in (("sha256:" + "0" * 64, ""), (base.revision, "klinikum")):
        with pytest.raises(StatementInvalid):
            await live(revision, overlay)


async def test_a_release_is_not_asked_without_the_overlay_that_is_live() -> None:
    draft, live = ReleaseDraft(bundle=Bundle.load()), Law(bundle=Bundle.load(), overlay="klinikum")
    told: Any = Told("", (), b"")
    with pytest.raises(StatementInvalid, match="ask again"):
        await draft.beside(live, told)
    assert (await draft.beside(replace(live, overlay=""), told)).overlay == ""


@dataclass(frozen=True)
class Told:
    """A gateway's answers."""

    revision: str
    found: tuple[RuleInForce, ...]
    archive: bytes

    async def rules(self) -> tuple[str, tuple[RuleInForce, ...]]:
        """What it says is live."""
        return self.revision, self.found

    async def bundle(self, _: str) -> bytes:
        """What it hands out."""
        return self.archive

    async def active(self) -> None:
        """No revision is active."""


async def test_a_duty_that_a_draft_adds_is_told_too(
    parties: Parties, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with desk(parties, tmp_path) as (found, options, key):
        await asked(found, GENETIC)
        capsys.readouterr()
        assert (
            await simulate.simulate(
                EXAMPLE, key=key, engine=EngineName.EMBEDDED, output="json", since="1h", options=options
            )
            == 0
        )
        (found_one,) = json.loads(capsys.readouterr().out)["newly_denied"]
        assert (found_one["live"], found_one["draft"]) == ("permit", "review")
        assert found_one["duties_new"] == ["approval 1"]


async def test_there_must_be_a_draft_and_where_nothing_was_decided_that_is_said(
    parties: Parties, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with desk(parties, tmp_path) as (found, options, key):
        asked_of: dict[str, Any] = {"key": key, "engine": EngineName.EMBEDDED, "options": options}
        assert await simulate.simulate(EXAMPLE, **asked_of) == 0
        assert "0 decisions asked again" in capsys.readouterr().err
        with pytest.raises(FieldInvalid, match=r"overlay\.rego"):
            await simulate.simulate(tmp_path / "nothing", **asked_of)
        await asked(found, facts())
        bad = draft(tmp_path, ('"SG"}', '"SG"}; http.send({}) != {}'))
        with pytest.raises(FieldInvalid, match="profile"):
            await simulate.simulate(bad, **asked_of)
