"""What a runner shows, and how it follows its operator's files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carnet.core.errors import CarnetError
from carnet.vetting import vet
from carnet.wire import signed_from_bytes
from certs import development
from tests.fixtures.parties import Parties


@pytest.fixture
def own(tmp_path: Path) -> Parties:
    return Parties.build(tmp_path)


def test_what_is_shown_passes_the_client_s_own_vetting(parties: Parties) -> None:
    runner = parties.runners["FR"]
    vetted = runner.vetted(parties.pins)
    assert vetted.spiffe_id == runner.name
    assert vetted.jurisdiction == "FR"
    assert vetted.card == runner.self.card


def test_a_newer_status_is_shown_once_it_is_there(own: Parties) -> None:
    runner = own.runners["FR"]
    before = runner.presented.status
    assert not runner.evidence.refresh()
    development.sign_statuses(own.pki, now=datetime.now(UTC) + timedelta(seconds=5))
    assert runner.evidence.refresh()
    after = runner.presented.status
    assert after != before
    assert after == signed_from_bytes((runner.directory / "status.stmt").read_bytes())


@pytest.mark.parametrize("data", [b"", b"\0garbage", b"\n\x05hello"])
def test_a_file_that_is_no_statement_changes_nothing_that_is_shown(own: Parties, data: bytes) -> None:
    runner = own.runners["FR"]
    before = runner.presented
    (runner.directory / "status.stmt").write_bytes(data)
    with pytest.raises(CarnetError):
        runner.evidence.refresh()
    assert runner.presented == before
    vet(runner.presented, anchors=own.pins.operators, now_ns=own.clock())


def test_older_keys_are_shown_beside_the_one_to_seal_to(own: Parties) -> None:
    runner = own.runners["FR"]
    first = runner.vetted(own.pins).key.kid
    runner.restart()
    assert not runner.vetted(own.pins).opens(first)
