"""Receipts: whatever differs from what the client knows is named."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from carnet.core import limits
from carnet.core.errors import StatementInvalid
from carnet.core.facts import Resources
from carnet.core.job import LogMode, Manifest, Mode, Recipient, SealedObject
from carnet.core.receipt import ExitClass, Meter, Receipt, ResultObject, Start, check_receipt, check_start
from carnet.core.runner import Isolation

RUNNER = "spiffe://gpu-fr.example/j/FR/runner/1"
HOUR = 3600 * 10**9
IMAGE = "registry.example/train@sha256:" + "a" * 64

MANIFEST = Manifest(
    payload=b"manifest",
    version=1,
    suite=1,
    job_id=b"j" * 16,
    tenant_id=b"t" * 16,
    nonce=b"n" * 16,
    created_ns=HOUR,
    not_after_ns=2 * HOUR,
    facts_digest=b"f" * 32,
    decision_digest=b"d" * 32,
    image=IMAGE,
    mode=Mode.FRAMED,
    command=(),
    resources=Resources(cpu_millis=1000, memory_bytes=limits.GIB, work_bytes=limits.GIB, gpus=0),
    seconds_max=600,
    isolation_min=Isolation.CONTAINER,
    template_digest=b"p" * 32,
    allowed_jurisdictions=("DE", "FR"),
    recipients=(Recipient(spiffe_id=RUNNER, jurisdiction="FR", kid=b"k" * 32, key_statement_digest=b"s" * 32),),
    objects=(SealedObject(id=0, size=1, segment_digests=(b"d" * 32,)),),
    root_commit=b"c" * 32,
    result_public=b"r" * limits.hybrid_public_bytes,
    attempts_max=1,
    log_mode=LogMode.SEALED,
)
START = Start(
    payload=b"start",
    manifest_digest=MANIFEST.digest,
    grant_digest=b"g" * 32,
    spiffe_id=RUNNER,
    result_wrap=b"w" * limits.wrap_bytes,
    started_ns=HOUR + 1,
)
RECEIPT = Receipt(
    payload=b"receipt",
    job_id=MANIFEST.job_id,
    manifest_digest=MANIFEST.digest,
    grant_digest=START.grant_digest,
    permit_digest=b"P" * 32,
    start_digest=START.digest,
    decision_digest=MANIFEST.decision_digest,
    record_digest=b"R" * 32,
    spiffe_id=RUNNER,
    jurisdiction="FR",
    isolation=Isolation.CONTAINER,
    template_digest=MANIFEST.template_digest,
    profile_digest=b"o" * 32,
    image=IMAGE,
    attempt=1,
    started_ns=HOUR + 1,
    ended_ns=HOUR + 2,
    exit_class=ExitClass.SUCCEEDED,
    exit_code=0,
    results=(
        ResultObject(id=0, size=1, segment_digests=(b"0" * 32,)),
        ResultObject(id=1, size=1, segment_digests=(b"1" * 32,)),
    ),
    log_records=1,
    evidence_digest=b"e" * 32,
    meter=Meter(
        wall_ms=1,
        cpu_ms=1,
        memory_peak_bytes=1,
        gpu_ms=0,
        energy_mj=0,
        energy_method="none",
        price_micro_usd=0,
        cpu_method="samples",
        memory_method="peak",
    ),
)


def check(receipt: Receipt) -> None:
    check_receipt(receipt, MANIFEST, START, permit_digest=b"P" * 32)


def test_control_a_true_receipt_passes() -> None:
    check(RECEIPT)
    check(replace(RECEIPT, isolation=Isolation.TEE, results=()))
    assert RECEIPT.digest == hashlib.sha256(b"receipt").digest()
    assert START.digest == hashlib.sha256(b"start").digest()


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("job_id", {"job_id": b"x" * 16}),
        ("manifest", {"manifest_digest": b"x" * 32}),
        ("grant", {"grant_digest": b"x" * 32}),
        ("start", {"start_digest": b"x" * 32}),
        ("permit", {"permit_digest": b"x" * 32}),
        ("runner", {"spiffe_id": RUNNER + "2"}),
        ("image", {"image": IMAGE.replace("a" * 64, "b" * 64)}),
        ("template", {"template_digest": b"x" * 32}),
    ],
)
def test_attack_a_receipt_of_something_else_is_named(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(StatementInvalid) as error:
        check(replace(RECEIPT, **changes))
    assert error.value.metadata == {"field": field}


@pytest.mark.parametrize(
    "changes",
    [
        {"jurisdiction": "US"},
        {"jurisdiction": ""},
        {"isolation": Isolation.PROCESS},
        {"results": RECEIPT.results[1:]},
        {"results": RECEIPT.results[::-1]},
        {"results": (RECEIPT.results[0], RECEIPT.results[0])},
    ],
    ids=str,
)
def test_attack_a_receipt_from_elsewhere_or_with_holes(changes: dict[str, Any]) -> None:
    with pytest.raises(StatementInvalid):
        check(replace(RECEIPT, **changes))


def test_attack_a_second_start_is_swapped_in() -> None:
    second = replace(START, payload=b"second start", result_wrap=b"x" * limits.wrap_bytes)
    with pytest.raises(StatementInvalid) as error:
        check_receipt(RECEIPT, MANIFEST, second, permit_digest=b"P" * 32)
    assert error.value.metadata == {"field": "start"}


@pytest.mark.parametrize("field", ["manifest", "grant", "runner"])
def test_attack_a_start_of_another_job_grant_or_runner(field: str) -> None:
    right: dict[str, Any] = {
        "manifest_digest": MANIFEST.digest,
        "grant_digest": b"g" * 32,
        "spiffe_id": RUNNER,
    }
    check_start(START, **right)
    name = {"manifest": "manifest_digest", "grant": "grant_digest", "runner": "spiffe_id"}[field]
    with pytest.raises(StatementInvalid) as error:
        check_start(START, **{**right, name: "x" if name == "spiffe_id" else b"x" * 32})
    assert error.value.metadata == {"field": field}


@pytest.mark.parametrize("size", [0, limits.wrap_bytes - 1, limits.wrap_bytes + 1])
def test_a_result_wrap_has_one_size(size: int) -> None:
    with pytest.raises(StatementInvalid):
        replace(START, result_wrap=b"w" * size)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": -1},
        {"id": limits.result_objects_max + 1},
        {"size": -1},
        {"size": limits.result_bytes_max + 1},
        {"segment_digests": ()},
        {"segment_digests": (b"d" * 31,)},
    ],
    ids=str,
)
def test_a_result_that_exists_is_legal(changes: dict[str, Any]) -> None:
    with pytest.raises(StatementInvalid):
        replace(RECEIPT.results[0], **changes)
