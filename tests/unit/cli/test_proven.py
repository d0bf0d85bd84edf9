"""A verified receipt in words and as JSON: both say the same, and all that was proven."""

import dataclasses
import json

from carnet.cli.output import when
from carnet.cli.proven import proven_document, proven_pairs, result_count
from carnet.core.receipt import ExitClass
from tests.unit.cli.values import IMAGE, ORIGIN, proven


def test_the_words_name_all_that_was_proven() -> None:
    found = proven()
    pairs = dict(proven_pairs(found, origin=ORIGIN))
    assert pairs["job"] == f"tenants/{b't'.hex() * 16}/jobs/{b'j'.hex() * 16}"
    assert pairs["outcome"] == "succeeded, exit code 0, attempt 1"
    assert (pairs["image"], pairs["jurisdiction"]) == (IMAGE, "FR")
    assert pairs["runner"] == f"{found.receipt.spiffe_id} of gpu-fr.example"
    assert pairs["permitted"] == "DE, FR"
    assert pairs["rules"] == "sha256:" + "1" * 64
    assert (b"d" * 32).hex() in pairs["prepared under"]
    assert (b"R" * 32).hex() in pairs["dispatched under"]
    assert found.dispatched.digest.hex() in pairs["dispatched under"]
    assert pairs["took"] == "2.015 s; processor time 0.900 s (cgroup)"
    assert pairs["price"] == "1.000250 USD"
    assert pairs["results"] == "2"
    assert pairs["in the log"] == f"entry 41 of {ORIGIN}, {when(found.outcome_ns)}"


def test_the_json_says_the_same() -> None:
    found = proven(exit_class=ExitClass.JOB_FAILED, exit_code=3, results=())
    document = proven_document(found, origin=ORIGIN)
    assert document == json.loads(json.dumps(document))
    assert (document["verified"], document["exit_class"], document["exit_code"]) == (True, "job_failed", 3)
    assert (document["image"], document["jurisdiction"], document["operator"]) == (IMAGE, "FR", "gpu-fr.example")
    assert document["manifest_digest"] == found.manifest.digest.hex()
    assert document["facts_digest"] == found.facts.digest.hex()
    assert document["log"] == {"origin": ORIGIN, "outcome_index": 41, "outcome_ns": found.outcome_ns}
    assert document["results"] == result_count(found) == 0
    pairs = dict(proven_pairs(found, origin=ORIGIN))
    assert pairs["outcome"] == "job_failed, exit code 3, attempt 1"


def test_a_time_that_was_not_measured_is_not_shown_as_none_used() -> None:
    found = proven()
    meter = dataclasses.replace(found.receipt.meter, cpu_ms=0, cpu_method="unavailable")
    pairs = dict(proven_pairs(proven(meter=meter), origin=ORIGIN))
    assert pairs["took"] == "2.015 s; processor time was not measured"
