"""What a job that needs approval may do, and what not; and the name of rules and data together."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from carnet.core.decision import (
    DecisionBody,
    Enforcer,
    Obligation,
    Revisions,
    RunnerVerdict,
    Verdict,
    approvals_needed,
    check_submittable,
    parse_body,
    unverified_rows_of,
)
from carnet.core.errors import ApprovalRequired, FieldInvalid, PolicyDenied
from tests.unit.core.test_decision_mutants import DOCUMENT, encoded

END = DOCUMENT["valid_until_ns"]


def duty(kind: str = "approval", value: str | int = 1, enforcer: Enforcer = Enforcer.GATEWAY) -> Obligation:
    return Obligation(type=kind, value=value, rule="R1", citations=(), enforcer=enforcer)


def body(verdict: Verdict, *duties: Obligation, permitted: tuple[str, ...] = ("FR",)) -> DecisionBody:
    """A body beyond what a parser lets in, so that each check stands alone."""
    return replace(parse_body(encoded()), verdict=verdict, obligations=duties, permitted=permitted)


def test_how_many_must_approve_is_the_greatest_of_the_duties_and_none_without_one() -> None:
    assert approvals_needed(()) == 0
    assert approvals_needed((duty(value=1), duty(value=3), duty(value=2))) == 3
    assert approvals_needed((duty("recipients_max", 5),)) == 0
    assert approvals_needed((duty(value="two"),)) == 0


def test_a_permission_is_handed_in_while_it_is_valid_and_needs_nobody() -> None:
    check_submittable(body(Verdict.PERMIT), now_ns=END - 1)
    with pytest.raises(PolicyDenied):
        check_submittable(body(Verdict.PERMIT), now_ns=END)
    with pytest.raises(PolicyDenied):
        check_submittable(body(Verdict.DENY), now_ns=END - 1)


def test_attack_a_permission_that_rests_on_the_approvals_of_another_job() -> None:
    with pytest.raises(ApprovalRequired, match="was approved; this one was not"):
        check_submittable(body(Verdict.PERMIT, duty()), now_ns=END - 1)


def test_a_job_that_must_be_approved_is_handed_in_to_wait() -> None:
    check_submittable(body(Verdict.REVIEW, duty()), now_ns=END - 1)


@pytest.mark.parametrize(
    "found",
    [body(Verdict.REVIEW, duty(), permitted=()), body(Verdict.REVIEW), body(Verdict.REVIEW, permitted=())],
    ids=["no place", "no approval", "neither"],
)
def test_a_review_that_nobody_could_end_is_not_handed_in(found: DecisionBody) -> None:
    with pytest.raises(PolicyDenied, match="nothing that could be approved") as caught:
        check_submittable(found, now_ns=END - 1)
    assert caught.value.metadata["verdict"] == "review"


@pytest.mark.parametrize("now_ns", [END, END + 1])
def test_a_review_ends_with_its_validity(now_ns: int) -> None:
    with pytest.raises(PolicyDenied, match="no longer valid; prepare"):
        check_submittable(body(Verdict.REVIEW, duty()), now_ns=now_ns)


@pytest.mark.parametrize("wrong", [duty("teleport"), duty(enforcer=Enforcer.RUNNER)])
def test_a_review_under_a_duty_that_is_not_known_is_not_handed_in(wrong: Obligation) -> None:
    with pytest.raises(PolicyDenied, match="not known here"):
        check_submittable(body(Verdict.REVIEW, duty(), wrong), now_ns=END - 1)


def test_the_name_of_a_bundle_is_the_digest_of_both_digests() -> None:
    found = Revisions(rules="sha256:1", data="sha256:2")
    assert found.bundle == "sha256:" + hashlib.sha256(b"sha256:1\nsha256:2").hexdigest()


def exempt(expires_ns: int) -> dict[str, Any]:
    used = {"id": "e1", "rule": "R1", "expires_ns": expires_ns}
    return {"exemptions_used": [used], "valid_until_ns": 1}


def test_an_exemption_ends_at_the_first_nanosecond_or_later() -> None:
    assert parse_body(encoded(**exempt(1))).exemptions_used[0].expires_ns == 1
    with pytest.raises(FieldInvalid) as caught:
        parse_body(encoded(**exempt(0)))
    assert caught.value.metadata["field"].endswith("expires_ns")


def verdict(*rows: str) -> RunnerVerdict:
    return RunnerVerdict(
        spiffe_id="spiffe://a.example/j/FR/runner/6f1c9f5e-0a34-4a57-9d1e-7f6d3a1b2c3d",
        jurisdiction="FR",
        card_digest=bytes(32),
        permitted=True,
        obligations=(),
        reasons=(),
        unverified_rows_used=rows,
        valid_until_ns=1,
    )


def test_what_nobody_verified_is_named_once_and_in_order() -> None:
    rows = [f"memberships/EAR_D5/{a}{b}" for a in "ZYXWVU" for b in "QPONML"]
    verdicts = [verdict(*rows[:20]), verdict(*rows[10:])]
    assert unverified_rows_of(verdicts) == tuple(sorted(rows))
    assert unverified_rows_of([]) == ()


@pytest.mark.parametrize(("count", "taken"), [(1024, True), (1025, False)])
def test_reasons_of_other_places_are_1024_at_most(count: int, taken: bool) -> None:
    reason = {"rule": "R1", "effect": "deny", "jurisdictions": ["US"], "citations": [], "message": "m"}
    elsewhere = [{**reason, "parameters": {}, "fix": []} for _ in range(count)]
    data = encoded(blocked={"R1": ["US"]}, reasons_elsewhere=elsewhere)
    if taken:
        assert len(parse_body(data).reasons_elsewhere) == count
    else:
        with pytest.raises(FieldInvalid) as caught:
            parse_body(data)
        assert caught.value.metadata["field"] == "reasons_elsewhere"
