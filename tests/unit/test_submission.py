"""A sealed job that was kept is sent by another process, byte for byte, or is refused with what is wrong."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from carnet import submission
from carnet.core.errors import CarnetError, CredentialInvalid, FieldInvalid, SignatureInvalid
from carnet.outbox import SealedJob
from carnet.submission import header_of, keep, load, trailer_of
from tests.fixtures.parties import Parties


def again(parties: Parties, folder: Path) -> SealedJob:
    return load(folder, pins=parties.pins, tenant_id=parties.tenant.tenant_id, now_ns=parties.clock())


def test_what_was_kept_is_the_same_job_byte_for_byte(parties: Parties) -> None:
    sealed = parties.sealed("FR", "DE")
    keep(sealed)
    found = again(parties, sealed.directory)
    assert replace(found, decided=sealed.decided) == sealed
    assert header_of(found).SerializeToString() == header_of(sealed).SerializeToString()
    assert trailer_of(found).SerializeToString() == trailer_of(sealed).SerializeToString()
    assert found.decided.body == sealed.decided.body


def test_it_is_one_submission_however_often_it_is_sent_and_another_job_is_another(parties: Parties) -> None:
    sealed, other = parties.sealed("FR"), parties.sealed("FR")
    assert header_of(sealed).request_id == header_of(sealed).request_id
    assert header_of(sealed).request_id != header_of(other).request_id


def test_discarding_leaves_nothing(parties: Parties) -> None:
    sealed = parties.sealed("FR")
    keep(sealed)
    keep(sealed)
    sealed.discard()
    assert not sealed.directory.exists()


def test_a_folder_whose_trailer_was_never_written_is_no_sealed_job(parties: Parties) -> None:
    sealed = parties.sealed("FR")
    keep(sealed)
    (sealed.directory / "trailer").unlink()
    with pytest.raises(FieldInvalid, match="does not hold a sealed job"):
        again(parties, sealed.directory)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda folder: _flip(folder / "header"), CarnetError),
        (lambda folder: (folder / "trailer").write_bytes(b"\xff" * 40), FieldInvalid),
        (lambda folder: (folder / "trailer").write_bytes(b"\0" * (submission._frame_bytes_max + 1)), FieldInvalid),
        (lambda folder: (folder / "object-1-0").unlink(), FieldInvalid),
    ],
    ids=["header", "trailer", "endless", "segment"],
)
def test_attack_a_folder_that_was_altered_is_not_sent(
    parties: Parties, spoil: Callable[[Path], object], error: type[CarnetError]
) -> None:
    sealed = parties.sealed("FR")
    keep(sealed)
    again(parties, sealed.directory)
    spoil(sealed.directory)
    with pytest.raises(error):
        again(parties, sealed.directory)


def test_attack_the_decision_of_another_job_in_its_header_is_not_sent(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed, other = parties.sealed("FR"), parties.sealed("DE")
    keep(sealed)
    keep(other)
    shutil.copy(other.directory / "header", sealed.directory / "header")
    with pytest.raises(FieldInvalid, match="not those of the manifest"):
        again(parties, sealed.directory)
    # Control: a client that does not look would send it, and hear it from the gateway.
    monkeypatch.setattr(submission, "_check", lambda _: None)
    assert again(parties, sealed.directory).decided.record.digest == other.decided.record.digest


def test_attack_a_job_of_another_tenant_is_not_sent(parties: Parties) -> None:
    sealed = parties.sealed("FR")
    keep(sealed)
    with pytest.raises(CredentialInvalid):
        load(sealed.directory, pins=parties.pins, tenant_id=bytes(16), now_ns=parties.clock())
    stranger = replace(parties.pins.tenants[0], root=parties.voice.signer.verifying_key())
    pins = replace(parties.pins, tenants=(stranger,))
    with pytest.raises(SignatureInvalid):
        load(sealed.directory, pins=pins, tenant_id=parties.tenant.tenant_id, now_ns=parties.clock())
