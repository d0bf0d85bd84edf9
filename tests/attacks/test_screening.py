"""Parties on a denied-party list, and parties that nobody screened, at a gateway with the rules that ship."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from carnet.client import Client
from carnet.core.errors import FieldInvalid, StoreUnavailable
from carnet.core.facts import parse_facts
from carnet.core.job import JobState
from carnet.outbox import seal
from gateway import screening
from gateway.standing import Standing
from policy.engine import Screening
from tests.fixtures.inprocess import Lawful, configured, lawful
from tests.fixtures.parties import TEMPLATE, Parties, facts, work

EXPORTER, USER, SUBJECT = "Werk Musterstadt", "Klinikum Musterstadt", "developer"


def written(path: Path, **words: str) -> None:
    """Results of the three parties, clear unless said otherwise; a party of no word is not in the file."""
    said = {"subject": "clear", "exporter": "clear", "user": "clear"} | words
    names = {"subject": ("subject", SUBJECT), "exporter": ("entity", EXPORTER), "user": ("entity", USER)}
    results = [
        {
            names[party][0]: names[party][1],
            "result": word,
            "list": {"name": "sdn", "digest": "sha256:" + "0" * 64},
            "as_of": datetime.now(UTC).date().isoformat(),
        }
        for party, word in said.items()
        if word
    ]
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"schema": "carnet.screening/v1", "results": results}))
    os.replace(new, path)


@asynccontextmanager
async def screened(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **settings: object
) -> AsyncIterator[tuple[Lawful, Client]]:
    parties.mint()
    monkeypatch.setattr(screening, "look_seconds", 0.05)
    async with (
        lawful(parties, tmp_path / "gateway", monkeypatch, screening=settings) as found,
        Client(parties.context(found.gateway.addresses.enterprise)) as client,
    ):
        found.attach("FR")
        yield found, client


async def rules(client: Client) -> set[str]:
    """The rules that keep an ordinary job off every place, or warn of it."""
    return {reason.rule for reason in (await client.prepare(facts())).decided.body.reasons} & {
        "CARNET-SCREENING",
        "CARNET-SCREENING-OFF",
    }


async def test_without_results_nobody_is_screened_and_every_decision_says_so(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with screened(parties, tmp_path, monkeypatch) as (_, client):
        assert await rules(client) == {"CARNET-SCREENING-OFF"}


@pytest.mark.parametrize("party", ["subject", "exporter", "user"])
@pytest.mark.parametrize("word", ["hit", "unknown", ""], ids=["hit", "unknown", "not in the file"])
async def test_a_party_that_is_not_clear_is_denied_everywhere(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, party: str, word: str
) -> None:
    path = tmp_path / "screening.json"
    written(path, **{party: word})
    async with screened(parties, tmp_path, monkeypatch, results=path) as (_, client):
        prepared = await client.prepare(facts())
        assert prepared.denied
        assert prepared.decided.body.permitted == ()
        assert await rules(client) == {"CARNET-SCREENING"}
        # Control: all three are clear.
        written(path)
        assert await _until(client, permitted=True) == set()


async def test_control_a_gateway_that_does_not_look_at_the_end_user_sends_to_one_on_a_list(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "screening.json"
    written(path, user="hit")
    monkeypatch.setattr(Standing, "_screened", lambda *_: Screening.CLEAR)
    async with screened(parties, tmp_path, monkeypatch, results=path) as (_, client):
        assert not (await client.prepare(facts())).denied


async def test_a_hit_that_comes_later_stops_what_was_prepared_or_waits(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "screening.json"
    written(path)
    async with screened(parties, tmp_path, monkeypatch, results=path) as (found, client):
        prepared = await client.prepare(facts())
        sealed = seal(
            work(facts()),
            prepared.decided,
            (parties.runners["FR"].vetted(parties.pins),),
            keys=parties.tenant,
            facts=parse_facts(facts()),
            template_digest=TEMPLATE,
            directory=parties.directory / "outbox",
            now_ns=time.time_ns(),
        )
        name = await client.submit(sealed)
        await asyncio.sleep(0.3)
        assert (await client.job(name)).state is JobState.QUEUED, "its runner has no free slot"
        written(path, user="hit")
        await _until(client, permitted=False)
        presence = found.roster.find(parties.runners["FR"].name)
        assert presence is not None
        presence.slots_said = 1
        for _ in range(200):
            if (await client.job(name)).state is JobState.DENIED:
                break
            await asyncio.sleep(0.05)
        assert (await client.job(name)).state is JobState.DENIED
        assert presence.outgoing.empty()


async def test_a_file_that_is_bad_or_gone_clears_nobody_until_it_is_whole(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "screening.json"
    written(path)
    async with screened(parties, tmp_path, monkeypatch, results=path) as (_, client):
        assert await rules(client) == set()
        for bad in (b"{", None):
            if bad is None:
                path.unlink()
            else:
                path.write_bytes(bad)
            await asyncio.sleep(0.5)
            with pytest.raises(StoreUnavailable):
                await client.prepare(facts())
            written(path)
            await asyncio.sleep(0.5)
            assert await rules(client) == set()


async def test_a_gateway_with_results_that_are_not_there_does_not_start(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FieldInvalid):
        async with screened(parties, tmp_path, monkeypatch, results=tmp_path / "none.json"):
            pytest.fail("it started")


@pytest.mark.parametrize("settings", [{"days": 0}, {"days": 367}, {"lists": "sdn.json"}], ids=["0", "367", "unknown"])
def test_settings_have_bounds(parties: Parties, tmp_path: Path, settings: dict[str, object]) -> None:
    with pytest.raises(FieldInvalid):
        configured(parties, tmp_path, {"engine": "embedded"}, screening=settings)


async def _until(client: Client, *, permitted: bool) -> set[str]:
    for _ in range(100):
        if (await client.prepare(facts())).denied is not permitted:
            return await rules(client)
        await asyncio.sleep(0.05)
    pytest.fail("what changed is not seen")
