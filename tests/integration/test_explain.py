"""`carnet job explain` against a gateway with the rules that ship: sentences, in the caller's language, for places."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from carnet.cli import explain as explaining
from carnet.cli.options import DEFAULT
from carnet.client import Client
from carnet.core.errors import FieldInvalid
from tests.fixtures.inprocess import Lawful, lawful
from tests.fixtures.parties import Parties, facts

HEALTH = facts(
    data={"classes": ["health"], "subject_jurisdictions": ["DE"], "origin_jurisdiction": "DE", "records": 10},
    constraints={"only": ["FR"]},
)


@pytest.fixture
async def gateway(parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lawful]:
    parties.mint()
    async with lawful(parties, tmp_path / "gateway", monkeypatch) as found:

        @asynccontextmanager
        async def connected(_: object) -> AsyncIterator[Client]:
            async with Client(parties.context(found.gateway.addresses.enterprise)) as client:
                yield client

        monkeypatch.setattr(explaining, "connected", connected)
        (tmp_path / "facts.json").write_bytes(HEALTH)
        yield found


@pytest.mark.parametrize(
    ("language", "denied", "sentence"),
    [
        ("en", "SG: not permitted", "The organisation permits France (FR) only"),
        ("fr", "SG: non autorisé", "L'organisation n'autorise que France (FR)"),
    ],
)
async def test_a_place_is_explained_by_sentences_with_citation_and_fix(
    gateway: Lawful,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    language: explaining.Language,
    denied: str,
    sentence: str,
) -> None:
    code = await explaining.explain("SG", "FR", facts=tmp_path / "facts.json", language=language)
    lines = capsys.readouterr().out.splitlines()
    assert code == 3
    assert lines[0] == denied
    assert sentence in lines[1]
    numbered = [line for line in lines if line.startswith("  ") and line.strip()[0].isdigit()]
    assert {"ORG-ONLY", "EU-GDPR-CHV"} <= {line.split()[1] for line in numbered}
    assert all(len(line.split()) > 4 for line in numbered), "each rule has a sentence"
    assert any(line.strip().startswith("->") for line in lines)
    assert sum(line.strip().startswith("cite") for line in lines) == len(numbered)
    assert lines[-1].startswith("FR: ")


async def test_the_document_has_the_sentences_too(
    gateway: Lawful, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await explaining.explain("SG", facts=tmp_path / "facts.json", output="json")
    (place,) = json.loads(capsys.readouterr().out)["places"]
    assert place["denials"]
    assert all(denial["text"] and denial["citations"] for denial in place["denials"])


async def test_words_that_the_gateway_does_not_give_do_not_change_what_is_in_the_way(
    gateway: Lawful, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = Client.prepare

    async def mute(self: Client, *args: bytes, **named: str) -> object:
        return replace(await honest(self, *args, **named), words={})

    await explaining.explain("SG", facts=tmp_path / "facts.json", output="json")
    before = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(Client, "prepare", mute)
    await explaining.explain("SG", facts=tmp_path / "facts.json", output="json")
    after = json.loads(capsys.readouterr().out)
    rules = [[denial["rule"] for denial in found["places"][0]["denials"]] for found in (before, after)]
    assert rules[0] == rules[1]


async def test_a_language_or_a_place_that_is_none_is_refused(gateway: Lawful, parties: Parties) -> None:
    async with Client(parties.context(gateway.gateway.addresses.enterprise)) as client:
        for asked, field in (({"language": "de"}, "language"), ({"places": ("Singapore",)}, "places")):
            with pytest.raises(FieldInvalid) as refused:
                await client.prepare(HEALTH, **asked)  # type: ignore[arg-type]  # one of the two
            assert refused.value.metadata["field"] == field
        for language in ("", "en", "fr"):
            assert (await client.prepare(HEALTH, language=language, places=("SG",))).words


async def test_a_runner_is_explained_in_the_language_too(
    gateway: Lawful, parties: Parties, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.attach("US")
    said = {}
    for language in ("en", "fr"):
        await explaining.explain(
            facts=tmp_path / "facts.json",
            runner=(parties.runners["US"].name,),
            language=language,  # type: ignore[arg-type]  # both are languages
            options=DEFAULT,
        )
        said[language] = capsys.readouterr().out
    assert "not taken" in said["en"]
    assert "écarté" in said["fr"]
    assert said["en"].splitlines()[2] != said["fr"].splitlines()[2]
