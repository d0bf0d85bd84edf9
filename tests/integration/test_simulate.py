"""`carnet policy simulate`: a draft asked of what was decided, on both engines; nothing of the gateway changes."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from carnet.cli.options import Options
from carnet.client import Client
from carnet.core.errors import FieldInvalid, NotFound
from gateway import parts
from policy.bundle import Bundle, home
from policy.commands import simulate
from policy.engines.choice import EngineName
from policy.overlay import Overlay
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


async def test_a_draft_that_takes_a_block_back_shows_what_it_newly_permits_first(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The live bundle holds the overlay; the draft of the same name takes its place."""
    live = Bundle.load().with_overlays([Overlay.load(draft(tmp_path / "live", FRANCE, EVERYBODY))])

    async def bundle_of(*_: object) -> Bundle:
        return live

    monkeypatch.setattr(parts, "bundle_of", bundle_of)
    async with desk(parties, tmp_path) as (found, options, key):
        await asked(found, facts(), GENETIC)
        capsys.readouterr()
        asked_of: dict[str, Any] = {"key": key, "engine": EngineName.EMBEDDED, "output": "json", "options": options}
        assert await simulate.simulate(EXAMPLE, **asked_of) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["live"] == live.revision
        assert report["counts"]["asked"] == 2
        assert [each["places_new"][:1] for each in report["newly_permitted"]] == [["FR"]]
        assert list(report).index("newly_permitted") < list(report).index("newly_denied")
        # Genetic data waits for an approval in both, so neither permits it; what is blocked differs all the same.
        assert report["counts"]["newly_denied"] == 0
        assert report["counts"]["stranded"] == 0


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


async def test_there_must_be_a_draft_and_something_that_was_decided(parties: Parties, tmp_path: Path) -> None:
    async with desk(parties, tmp_path) as (found, options, key):
        asked_of: dict[str, Any] = {"key": key, "engine": EngineName.EMBEDDED, "options": options}
        with pytest.raises(NotFound, match="Nothing was decided"):
            await simulate.simulate(EXAMPLE, **asked_of)
        with pytest.raises(FieldInvalid, match=r"overlay\.rego"):
            await simulate.simulate(tmp_path / "nothing", **asked_of)
        await asked(found, facts())
        bad = draft(tmp_path, ('"SG"}', '"SG"}; http.send({}) != {}'))
        with pytest.raises(FieldInvalid, match="profile"):
            await simulate.simulate(bad, **asked_of)
