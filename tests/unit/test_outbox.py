"""A sealed job on the client's disk: ciphertext only, for the recipients only."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from carnet import statements
from carnet.core import limits
from carnet.core.decision import parse_body
from carnet.core.envelope import SegmentOpener, unwrap_root
from carnet.core.errors import CarnetError, EnvelopeUnopened, FieldInvalid
from carnet.core.facts import parse_facts
from carnet.core.job import Mode
from carnet.core.root import check_root
from carnet.outbox import SealedJob, Work, WorkFile, allowed_places, seal
from tests.fixtures.parties import SECRET, TEMPLATE, Parties, body, facts


def root_of(parties: Parties, job: SealedJob, place: str) -> bytearray:
    runner = parties.runners[place]
    number = [r.spiffe_id for r in job.manifest.recipients].index(runner.name)
    recipient = job.manifest.recipients[number]
    return unwrap_root(
        runner.keys.private(recipient.kid),
        job.wraps[number],
        manifest_digest=job.manifest.digest,
        spiffe_id=recipient.spiffe_id,
        jurisdiction=recipient.jurisdiction,
        kid=recipient.kid,
    )


def plain(job: SealedJob, root: bytearray, object_id: int) -> bytes:
    path = next(path for o, i, path in job.segments() if (o, i) == (object_id, 0))
    opener = SegmentOpener(root, job_id=job.manifest.job_id, object_id=object_id, index=0, last=True)
    return opener.update(path.read_bytes()) + opener.finish()


def test_each_recipient_opens_what_was_sealed_and_nobody_else(parties: Parties) -> None:
    job = parties.sealed("FR", "DE")
    for place in ("FR", "DE"):
        root = root_of(parties, job, place)
        check_root(root, job.manifest)
        assert plain(job, root, 1) == SECRET
    crossed = replace(job, wraps=(job.wraps[1], job.wraps[0]))
    with pytest.raises(EnvelopeUnopened):
        root_of(parties, crossed, "FR")


def test_nothing_on_disk_can_be_read_without_a_key(parties: Parties) -> None:
    job = parties.sealed("FR")
    stored = b"".join(path.read_bytes() for path in job.directory.iterdir())
    assert b"canary" not in stored
    assert b"job.py" not in stored
    assert job.directory.stat().st_mode & 0o777 == 0o700


def test_the_manifest_names_the_ciphertext_on_disk(parties: Parties) -> None:
    job = parties.sealed("FR")
    digests = [digest for item in job.manifest.objects for digest in item.segment_digests]
    assert digests == [hashlib.sha256(path.read_bytes()).digest() for _, _, path in job.segments()]
    assert statements.MANIFEST.open(job.signed, parties.tenant.signer.verifying_key()) == job.manifest


def test_sealing_again_gives_another_job(parties: Parties) -> None:
    first, second = parties.sealed("FR"), parties.sealed("FR")
    assert first.manifest.job_id != second.manifest.job_id
    assert first.manifest.root_commit != second.manifest.root_commit
    assert first.wraps != second.wraps


def test_a_discarded_job_leaves_nothing(parties: Parties) -> None:
    job = parties.sealed("FR")
    job.discard()
    assert not job.directory.exists()


@pytest.mark.parametrize("size", [0, 1, limits.MIB, 2 * limits.MIB + 1])
def test_files_of_any_size_come_out_as_they_went_in(parties: Parties, tmp_path: Path, size: int) -> None:
    source = tmp_path / "data"
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    source.write_bytes(data)
    told = parse_facts(facts())
    job = seal(
        Work(facts=facts(), command=("cat",), files=(WorkFile(name="data", source=source),)),
        parties.decided(told, "FR"),
        (parties.runners["FR"].vetted(parties.pins),),
        keys=parties.tenant,
        facts=told,
        template_digest=TEMPLATE,
        directory=tmp_path / "outbox",
        now_ns=parties.clock(),
    )
    assert job.manifest.objects[1].size == size
    assert plain(job, root_of(parties, job, "FR"), 1) == data


def test_a_raw_job_has_one_file_and_a_framed_one_a_command() -> None:
    stdin = WorkFile(name="stdin", source=b"x")
    Work(facts=b"", command=("sort",), files=(stdin,), mode=Mode.RAW)
    for wrong in (
        {"files": (), "mode": Mode.RAW},
        {"files": (stdin, replace(stdin, name="b")), "mode": Mode.RAW},
        {"files": (stdin,), "mode": Mode.RAW, "environment": (("A", "b"),)},
        {"files": (stdin,), "command": ()},
        {"files": (stdin, stdin)},
    ):
        with pytest.raises(FieldInvalid):
            Work(**{"facts": b"", "command": ("sort",), **wrong})  # type: ignore[arg-type]


def test_an_index_that_is_too_large_is_refused_and_no_root_is_kept(parties: Parties, tmp_path: Path) -> None:
    told = parse_facts(facts())
    with pytest.raises(CarnetError):
        seal(
            Work(facts=facts(), command=("x" * (limits.index_bytes_max + 1),)),
            parties.decided(told, "FR"),
            (parties.runners["FR"].vetted(parties.pins),),
            keys=parties.tenant,
            facts=told,
            template_digest=TEMPLATE,
            directory=tmp_path,
            now_ns=parties.clock(),
        )


def test_the_manifest_allows_what_decision_and_the_client_s_own_list_allow(parties: Parties) -> None:
    permitted = parse_body(body("DE", "FR", "US"))
    everywhere, only = parse_facts(facts()), parse_facts(facts(constraints={"only": ["FR"]}))
    assert allowed_places(permitted, everywhere, ()) == ("DE", "FR", "US")
    assert allowed_places(permitted, only, ()) == ("FR",)
