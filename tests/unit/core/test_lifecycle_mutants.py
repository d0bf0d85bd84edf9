"""What the lifecycle says, word for word: reasons, defaults and bounds that the table of states does not show."""

from dataclasses import replace

import pytest

from carnet.core import limits
from carnet.core.errors import IllegalTransition
from carnet.core.job import JobState as State
from carnet.core.lifecycle import (
    Accepted,
    ApprovalRefused,
    AttemptClosed,
    AttemptLost,
    CancelAsked,
    Claimed,
    Contender,
    DeadlinePassed,
    DeniedForAll,
    DropWraps,
    Event,
    Job,
    LogOutcome,
    RenewalDenied,
    UploadFailed,
    advance,
)

RUNNER = "spiffe://gpu-fr.example/j/FR/runner/1"
FIRST = Contender(spiffe_id=RUNNER, jurisdiction="FR", kid=b"1" * 32)
QUEUED = Job(state=State.QUEUED, deadline_ns=10, attempts_max=2, contenders=(FIRST,))


def after(job: Job, *events: Event) -> Job:
    for event in events:
        job, _ = advance(job, event, now_ns=0)
    return job


def outcome(job: Job, event: Event) -> LogOutcome:
    ended, effects = advance(job, event, now_ns=0)
    logged = effects[-1]
    assert isinstance(logged, LogOutcome)
    assert effects[:-1] == (DropWraps(),)
    assert (logged.state, logged.reason) == (ended.state, ended.reason)
    return logged


def test_a_job_of_which_nothing_is_said_has_one_attempt_no_runner_and_no_reason() -> None:
    job = Job(deadline_ns=10)
    assert (job.state, job.attempt, job.attempts_max, job.contenders) == (State.PENDING, 0, 1, ())
    assert (job.runner, job.cause, job.reason) == ("", None, "")


def test_a_job_may_have_eight_attempts_and_no_more() -> None:
    job = Job(deadline_ns=10, attempts_max=limits.attempts_max)
    assert job.attempts_max == 8
    with pytest.raises(IllegalTransition):
        replace(job, attempts_max=limits.attempts_max + 1)


def test_of_two_keys_of_one_runner_the_one_that_was_tried_is_current() -> None:
    second = replace(FIRST, kid=b"2" * 32)
    job = after(replace(QUEUED, contenders=(FIRST, second)), Claimed(spiffe_id=RUNNER))
    assert job.current == replace(FIRST, spent=True)


def test_a_denial_an_expiry_and_a_cancellation_say_why() -> None:
    waiting = replace(QUEUED, state=State.AWAITING_APPROVAL)
    assert outcome(QUEUED, DeniedForAll()) == LogOutcome(state=State.DENIED, reason="POLICY_DENIED")
    assert outcome(QUEUED, DeniedForAll(reason="BUNDLE")) == LogOutcome(state=State.DENIED, reason="BUNDLE")
    assert outcome(waiting, ApprovalRefused()) == LogOutcome(state=State.DENIED, reason="POLICY_DENIED")
    assert outcome(QUEUED, DeadlinePassed()) == LogOutcome(state=State.EXPIRED, reason="DEADLINE")
    assert outcome(QUEUED, CancelAsked()) == LogOutcome(state=State.CANCELLED, reason="")


@pytest.mark.parametrize(
    ("asked", "state", "reason"),
    [
        (CancelAsked(), State.CANCELLED, ""),
        (RenewalDenied(), State.DENIED, "POLICY_DENIED"),
        (DeadlinePassed(), State.EXPIRED, "DEADLINE"),
    ],
)
def test_a_job_that_was_stopped_ends_with_the_reason_it_was_stopped_for(
    asked: Event, state: State, reason: str
) -> None:
    stopping = after(QUEUED, Claimed(spiffe_id=RUNNER), asked)
    assert (stopping.cause, stopping.reason) == (state, reason)
    assert outcome(stopping, AttemptClosed()) == LogOutcome(state=state, reason=reason)


def test_a_broken_upload_says_so() -> None:
    job = after(Job(deadline_ns=10, contenders=(FIRST,)), UploadFailed())
    assert (job.state, job.reason) == (State.FAILED, "UPLOAD_FAILED")


def test_a_job_whose_last_attempt_was_lost_has_no_runner_any_more() -> None:
    working = after(replace(QUEUED, attempts_max=1), Claimed(spiffe_id=RUNNER))
    assert working.runner == RUNNER
    failed = after(working, AttemptLost(reason="LEASE_LOST"))
    assert (failed.state, failed.runner, failed.current) == (State.FAILED, "", None)


def test_a_job_that_waits_for_another_recipient_has_no_runner() -> None:
    waiting = after(QUEUED, Claimed(spiffe_id=RUNNER), AttemptLost(reason="LEASE_LOST"))
    assert (waiting.state, waiting.runner) == (State.NEEDS_RECIPIENTS, "")


def test_an_accepted_job_without_recipients_waits_for_them() -> None:
    assert after(Job(deadline_ns=10), Accepted()).state is State.NEEDS_RECIPIENTS
