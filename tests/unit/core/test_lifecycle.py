"""The lifecycle against the table of docs/protocol.md, line by line, and every pair that is not in it."""

from dataclasses import replace

import pytest

from carnet.core import lifecycle
from carnet.core.errors import IllegalTransition, LeaseLost
from carnet.core.job import JobState as State
from carnet.core.lifecycle import (
    Accepted,
    ApprovalRefused,
    Approved,
    AttemptClosed,
    AttemptLost,
    CancelAsked,
    Claimed,
    Contender,
    DeadlinePassed,
    DeniedForAll,
    DropUpload,
    DropWraps,
    Enqueue,
    Event,
    Job,
    LogOutcome,
    Offer,
    ReceiptArrived,
    RecipientDenied,
    RecipientGone,
    RecipientsAdded,
    RenewalDenied,
    Revoke,
    Started,
    UploadFailed,
    advance,
)
from carnet.core.receipt import ExitClass

FIRST = Contender(spiffe_id="spiffe://gpu-fr.example/j/FR/runner/1", jurisdiction="FR", kid=b"1" * 32)
SECOND = Contender(spiffe_id="spiffe://gpu-de.example/j/DE/runner/2", jurisdiction="DE", kid=b"2" * 32)
THIRD = Contender(spiffe_id="spiffe://gpu-de.example/j/DE/runner/3", jurisdiction="DE", kid=b"3" * 32)
NOW = 1_000
SPENT = replace(FIRST, spent=True)

EVENTS: dict[str, Event] = {
    "accepted": Accepted(),
    "accepted, to be approved": Accepted(approval=True),
    "upload failed": UploadFailed(),
    "approved": Approved(),
    "refused": ApprovalRefused(),
    "claimed": Claimed(spiffe_id=FIRST.spiffe_id),
    "denied here": RecipientDenied(spiffe_id=FIRST.spiffe_id),
    "denied for all": DeniedForAll(),
    "recipient gone": RecipientGone(spiffe_id=FIRST.spiffe_id),
    "start": Started(),
    "lost": AttemptLost(reason="LEASE_LOST"),
    "success": ReceiptArrived(exit_class=ExitClass.SUCCEEDED),
    "job failure": ReceiptArrived(exit_class=ExitClass.JOB_FAILED),
    "host failure": ReceiptArrived(exit_class=ExitClass.INFRA_LOST),
    "cancel": CancelAsked(),
    "renewal denied": RenewalDenied(),
    "deadline": DeadlinePassed(),
    "recipients added": RecipientsAdded(contenders=(THIRD,)),
    "closed": AttemptClosed(),
}


def job_in(state: State, **changes: object) -> Job:
    """A job with two recipients, of which a working state has spent the first, and three attempts."""
    working = state in (State.DISPATCHING, State.RUNNING, State.CANCELLING)
    job = Job(
        state=state,
        attempt=1 if working else 0,
        attempts_max=3,
        deadline_ns=10_000,
        contenders=(SPENT if working else FIRST, SECOND),
        runner=FIRST.spiffe_id if working else "",
        cause=State.CANCELLED if state is State.CANCELLING else None,
    )
    return replace(job, **changes)  # type: ignore[arg-type]


# from, event, to: one line for each cell of the table where two recipients and two attempts are left.
TABLE = [
    ("pending", "accepted", "queued"),
    ("pending", "accepted, to be approved", "awaiting_approval"),
    ("pending", "upload failed", "failed"),
    ("awaiting_approval", "approved", "needs_recipients"),
    ("awaiting_approval", "refused", "denied"),
    ("awaiting_approval", "deadline", "expired"),
    ("awaiting_approval", "cancel", "cancelled"),
    ("queued", "claimed", "dispatching"),
    ("queued", "denied here", "queued"),
    ("queued", "denied for all", "denied"),
    ("queued", "recipient gone", "queued"),
    ("queued", "cancel", "cancelled"),
    ("queued", "deadline", "expired"),
    ("dispatching", "start", "running"),
    ("dispatching", "lost", "queued"),
    ("dispatching", "renewal denied", "cancelling"),
    ("dispatching", "cancel", "cancelling"),
    ("dispatching", "deadline", "cancelling"),
    ("running", "success", "succeeded"),
    ("running", "job failure", "failed"),
    ("running", "host failure", "queued"),
    ("running", "lost", "queued"),
    ("running", "cancel", "cancelling"),
    ("running", "renewal denied", "cancelling"),
    ("running", "deadline", "cancelling"),
    ("needs_recipients", "recipients added", "queued"),
    ("needs_recipients", "cancel", "cancelled"),
    ("needs_recipients", "deadline", "expired"),
    ("cancelling", "closed", "cancelled"),
    ("cancelling", "lost", "cancelled"),
    ("cancelling", "success", "cancelled"),
    ("cancelling", "job failure", "cancelled"),
    ("cancelling", "host failure", "cancelled"),
]
LEGAL = {(state, event) for state, event, _ in TABLE}
ILLEGAL = [(state, name) for state in State for name in EVENTS if (state, name) not in LEGAL]


@pytest.mark.parametrize(("state", "event", "after"), TABLE, ids=lambda word: str(word).replace(" ", "-"))
def test_each_line_of_the_table_leads_where_it_says(state: str, event: str, after: str) -> None:
    job, _ = advance(job_in(State(state)), EVENTS[event], now_ns=NOW)
    assert job.state == after


@pytest.mark.parametrize(("state", "name"), ILLEGAL)
def test_every_pair_outside_the_table_is_refused_and_late_results_lose_their_lease(state: State, name: str) -> None:
    late = isinstance(EVENTS[name], ReceiptArrived | Started)
    with pytest.raises(LeaseLost if late else IllegalTransition):
        advance(job_in(state), EVENTS[name], now_ns=NOW)


def test_the_table_in_the_code_has_no_pair_more() -> None:
    here = {(State(state), type(EVENTS[event])) for state, event, _ in TABLE}
    assert set(lifecycle.TABLE) == here


def test_every_event_is_in_the_table_of_the_test() -> None:
    assert {type(event) for event in EVENTS.values()} == set(Event.__args__)


@pytest.mark.parametrize("state", [state for state in State if state.terminal])
def test_a_terminal_job_accepts_nothing(state: State) -> None:
    for event in EVENTS.values():
        with pytest.raises((IllegalTransition, LeaseLost)):
            advance(job_in(state), event, now_ns=NOW)


def test_an_accepted_job_is_queued_for_its_first_recipient() -> None:
    job, effects = advance(job_in(State.PENDING), Accepted(), now_ns=NOW)
    assert effects == (Enqueue(),)
    assert job.next_contender == FIRST


def test_an_accepted_job_without_recipients_waits_for_them() -> None:
    job, effects = advance(job_in(State.PENDING, contenders=()), Accepted(), now_ns=NOW)
    assert (job.state, effects) == (State.NEEDS_RECIPIENTS, ())


def test_a_failed_upload_leaves_nothing_and_no_outcome() -> None:
    _, effects = advance(job_in(State.PENDING), UploadFailed(), now_ns=NOW)
    assert effects == (DropUpload(),)


def test_a_claim_offers_the_job_once_under_the_next_attempt() -> None:
    job, effects = advance(job_in(State.QUEUED), Claimed(spiffe_id=FIRST.spiffe_id), now_ns=NOW)
    assert (job.attempt, job.runner, job.current) == (1, FIRST.spiffe_id, SPENT)
    assert effects == (Offer(contender=FIRST, attempt=1),)
    assert job.next_contender == SECOND


@pytest.mark.parametrize("event", [Claimed, RecipientDenied, RecipientGone])
@pytest.mark.parametrize("spiffe_id", [FIRST.spiffe_id, "spiffe://nobody.example/j/FR/runner/9"])
def test_a_spent_or_unknown_recipient_is_never_offered(event: type, spiffe_id: str) -> None:
    job = job_in(State.QUEUED, contenders=(SPENT, SECOND))
    with pytest.raises(IllegalTransition):
        advance(job, event(spiffe_id=spiffe_id), now_ns=NOW)


@pytest.mark.parametrize("event", [RecipientDenied, RecipientGone])
def test_a_recipient_that_may_never_open_is_passed_over_without_an_attempt(event: type) -> None:
    job, effects = advance(job_in(State.QUEUED), event(spiffe_id=FIRST.spiffe_id), now_ns=NOW)
    assert (job.attempt, job.next_contender, effects) == (0, SECOND, (Enqueue(),))


@pytest.mark.parametrize("event", [RecipientDenied, RecipientGone])
def test_when_no_recipient_is_left_the_job_waits_for_one(event: type) -> None:
    job, effects = advance(job_in(State.QUEUED, contenders=(FIRST,)), event(spiffe_id=FIRST.spiffe_id), now_ns=NOW)
    assert (job.state, effects) == (State.NEEDS_RECIPIENTS, ())


@pytest.mark.parametrize("state", [State.DISPATCHING, State.RUNNING])
def test_a_lost_attempt_is_revoked_and_goes_to_the_next_recipient(state: State) -> None:
    job, effects = advance(job_in(state), AttemptLost(reason="LEASE_LOST"), now_ns=NOW)
    assert effects == (Revoke(spiffe_id=FIRST.spiffe_id, reason="LEASE_LOST"), Enqueue())
    assert (job.state, job.runner, job.current, job.next_contender) == (State.QUEUED, "", None, SECOND)
    assert job.attempt == 1


@pytest.mark.parametrize("state", [State.DISPATCHING, State.RUNNING])
def test_a_lost_attempt_with_no_recipient_left_waits_for_recipients(state: State) -> None:
    job, effects = advance(job_in(state, contenders=(SPENT,)), AttemptLost(reason="LEASE_LOST"), now_ns=NOW)
    assert job.state is State.NEEDS_RECIPIENTS
    assert effects == (Revoke(spiffe_id=FIRST.spiffe_id, reason="LEASE_LOST"),)


@pytest.mark.parametrize("state", [State.DISPATCHING, State.RUNNING])
def test_the_last_attempt_lost_fails_the_job_with_its_reason(state: State) -> None:
    job, effects = advance(job_in(state, attempt=3), AttemptLost(reason="OFFER_REFUSED"), now_ns=NOW)
    assert (job.state, job.reason) == (State.FAILED, "OFFER_REFUSED")
    assert effects[0] == Revoke(spiffe_id=FIRST.spiffe_id, reason="LEASE_LOST")
    assert effects[1:] == (DropWraps(), LogOutcome(state=State.FAILED, reason="OFFER_REFUSED"))


@pytest.mark.parametrize("exit_class", list(ExitClass))
def test_a_receipt_ends_the_job_or_sends_it_on_by_its_exit_class(exit_class: ExitClass) -> None:
    job, _ = advance(job_in(State.RUNNING), ReceiptArrived(exit_class=exit_class), now_ns=NOW)
    expected = {
        ExitClass.SUCCEEDED: (State.SUCCEEDED, ""),
        ExitClass.INFRA_LOST: (State.QUEUED, ""),
        ExitClass.LEASE_LOST: (State.QUEUED, ""),
    }
    assert (job.state, job.reason) == expected.get(exit_class, (State.FAILED, exit_class.value.upper()))


@pytest.mark.parametrize("state", [State.DISPATCHING, State.RUNNING])
@pytest.mark.parametrize(
    ("event", "ends"),
    [(CancelAsked(), State.CANCELLED), (RenewalDenied(), State.DENIED), (DeadlinePassed(), State.EXPIRED)],
)
@pytest.mark.parametrize(
    "last", [AttemptClosed(), AttemptLost(reason="LEASE_LOST"), ReceiptArrived(exit_class=ExitClass.SUCCEEDED)]
)
def test_a_job_that_is_being_cancelled_ends_by_its_cause(state: State, event: Event, ends: State, last: Event) -> None:
    stopping, effects = advance(job_in(state), event, now_ns=NOW)
    assert stopping.state is State.CANCELLING
    assert effects == (DropWraps(), Revoke(spiffe_id=FIRST.spiffe_id, reason="CANCELLED"))
    ended, effects = advance(stopping, last, now_ns=NOW)
    assert ended.state is ends
    assert effects == (DropWraps(), LogOutcome(state=ends, reason=ended.reason))


@pytest.mark.parametrize(("state", "event", "after"), TABLE)
def test_a_job_logs_its_outcome_exactly_when_it_ends(state: str, event: str, after: str) -> None:
    job, effects = advance(job_in(State(state)), EVENTS[event], now_ns=NOW)
    outcomes = [effect for effect in effects if isinstance(effect, LogOutcome)]
    ended = job.state.terminal and DropUpload() not in effects
    assert outcomes == ([LogOutcome(state=job.state, reason=job.reason)] if ended else [])
    if ended:
        assert DropWraps() in effects


def test_attack_an_addendum_lists_a_spent_recipient_again() -> None:
    job = job_in(State.NEEDS_RECIPIENTS, contenders=(SPENT,))
    with pytest.raises(IllegalTransition):
        advance(job, RecipientsAdded(contenders=(FIRST,)), now_ns=NOW)
    control, _ = advance(job, RecipientsAdded(contenders=(THIRD,)), now_ns=NOW)
    assert control.next_contender == THIRD


def test_a_new_recipient_can_not_be_spent() -> None:
    with pytest.raises(IllegalTransition):
        advance(
            job_in(State.NEEDS_RECIPIENTS),
            RecipientsAdded(contenders=(replace(THIRD, spent=True),)),
            now_ns=NOW,
        )


def test_an_empty_addendum_changes_nothing() -> None:
    job = job_in(State.NEEDS_RECIPIENTS, contenders=(SPENT,))
    assert advance(job, RecipientsAdded(contenders=()), now_ns=NOW) == (job, ())


def test_of_two_keys_of_one_runner_the_current_one_is_the_last_tried() -> None:
    again = replace(FIRST, kid=b"9" * 32)
    job = job_in(State.NEEDS_RECIPIENTS, contenders=(SPENT,), attempt=1)
    job, _ = advance(job, RecipientsAdded(contenders=(again,)), now_ns=NOW)
    job, effects = advance(job, Claimed(spiffe_id=FIRST.spiffe_id), now_ns=NOW)
    assert effects == (Offer(contender=again, attempt=2),)
    assert job.current == replace(again, spent=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts_max": 0},
        {"attempts_max": 9},
        {"attempt": -1},
        {"attempt": 4},
        {"contenders": (FIRST, FIRST)},
        {"state": State.CANCELLING, "cause": None},
    ],
    ids=str,
)
def test_a_job_that_exists_is_legal(wrong: dict[str, object]) -> None:
    with pytest.raises(IllegalTransition):
        replace(job_in(State.QUEUED), **wrong)  # type: ignore[arg-type]
