"""The spool: ciphertext against signed digests, and nothing left."""

import hashlib
from pathlib import Path

import pytest

from carnet.core.errors import PayloadDigestMismatch
from sandbox.spool import Spool, segments_of
from tests.fixtures.parties import Parties


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_a_segment_that_is_what_was_signed_is_read_back(spool: Spool) -> None:
    file = spool.begin(0, 0)
    for part in (b"one", b"two"):
        file.add(part)
    assert file.size == 6
    file.finish(hashlib.sha256(b"onetwo").digest())
    assert b"".join(spool.read(0, 0)) == b"onetwo"


@pytest.mark.parametrize("data", [b"", b"onetw", b"onetwo!", b"onetwO"])
def test_attack_a_segment_that_differs_from_its_signed_digest(spool: Spool, data: bytes) -> None:
    file = spool.begin(0, 0)
    file.add(data)
    with pytest.raises(PayloadDigestMismatch):
        file.finish(hashlib.sha256(b"onetwo").digest())


def test_results_are_read_from_any_place_on(spool: Spool) -> None:
    data = bytes(range(256)) * 2048
    spool.write_result(1, 0, data[:1000])
    spool.write_result(1, 0, data[1000:])
    for offset in (0, 1, 999, 1000, 300_000, len(data)):
        assert b"".join(spool.read_result(1, 0, offset)) == data[offset:]
    assert all(len(piece) <= 256 * 1024 for piece in spool.read_result(1, 0, 0))


def test_the_folder_is_private_and_goes_with_the_attempt(spool: Spool, tmp_path: Path) -> None:
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    spool.write_result(0, 0, b"x")
    spool.remove()
    spool.remove()
    assert not (tmp_path / "spool").exists()


def test_a_folder_of_an_earlier_attempt_is_not_taken_over(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        Spool(tmp_path / "spool")


def test_the_segments_of_a_manifest_come_in_order_with_their_sealed_sizes(parties: Parties) -> None:
    sealed = parties.sealed("FR")
    on_disk = [(o, i, path.stat().st_size) for o, i, path in sealed.segments()]
    assert [(o, i, size) for o, i, _, size in segments_of(sealed.manifest)] == on_disk
