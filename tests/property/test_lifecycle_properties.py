"""Random sequences of events never break an invariant of the lifecycle; each invariant has a control that breaks it.

`History` drives `advance` with legal and illegal events alike and keeps its own books from the effects alone, so that
it does not believe the job's own fields.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

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
    Effect,
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
    Started,
    UploadFailed,
    advance,
)
from carnet.core.receipt import ExitClass

WORKING = (State.DISPATCHING, State.RUNNING, State.CANCELLING)
RUNNERS = tuple(f"spiffe://gpu.example/j/FR/runner/{n}" for n in range(4))
PLAIN: tuple[Event, ...] = (
    Accepted(),
    Accepted(approval=True),
    UploadFailed(),
    Approved(),
    ApprovalRefused(),
    DeniedForAll(),
    Started(),
    AttemptLost(reason="LEASE_LOST"),
    CancelAsked(),
    RenewalDenied(),
    DeadlinePassed(),
    AttemptClosed(),
)


class History:
    """One job, all that was accepted for it, and what the effects said."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.first = job
        self.events: list[Event] = []
        self.offers: list[Offer] = []
        self.outcomes: list[LogOutcome] = []
        self.gone: set[bytes] = set()
        self.held: Offer | None = None
        self.cause: State | None = None
        self.kids = len(job.contenders)

    def feed(self, event: Event) -> None:
        """Advance if the event is legal; an illegal one must change nothing and raise one of two errors."""
        before = self.job
        gone = self._unspent(event)
        try:
            self.job, effects = advance(before, event, now_ns=len(self.events))
        except (IllegalTransition, LeaseLost):
            return
        assert not before.state.terminal, "a terminal job accepts nothing"
        self.events.append(event)
        if isinstance(event, RecipientDenied | RecipientGone) and gone:
            self.gone.add(gone.kid)
        for effect in effects:
            self._note(effect)
        if self.job.state not in WORKING:
            self.held = None
        if self.job.state is State.CANCELLING:
            wanted = {CancelAsked: State.CANCELLED, RenewalDenied: State.DENIED, DeadlinePassed: State.EXPIRED}
            self.cause = wanted[type(event)]
        elif before.state is State.CANCELLING:
            assert self.job.state is self.cause, "a job that is being cancelled ends by its cause"

    def _unspent(self, event: Event) -> Contender | None:
        wanted = getattr(event, "spiffe_id", None)
        return next((c for c in self.job.contenders if c.spiffe_id == wanted and not c.spent), None)

    def _note(self, effect: Effect) -> None:
        if isinstance(effect, Offer):
            assert self.held is None, "at most one attempt is live"
            assert not self.offers or effect.attempt > self.offers[-1].attempt, "attempts strictly rise"
            assert effect.contender.kid not in self.gone, "a recipient that was passed over is never offered"
            assert effect.contender.kid not in {o.contender.kid for o in self.offers}, "no recipient gets two offers"
            self.held = effect
            self.offers.append(effect)
        if isinstance(effect, LogOutcome):
            self.outcomes.append(effect)

    def check(self) -> None:
        """The sentences that hold after every step."""
        job = self.job
        assert len(self.offers) <= job.attempts_max, "attempts never exceed attempts_max"
        assert job.attempt == len(self.offers), "the attempt counts the offers"
        assert (job.state in WORKING) == (self.held is not None), "a working job has an attempt, and no other has"
        if self.held:
            assert job.current is not None, "the job knows which recipient works"
            assert job.current.kid == self.held.contender.kid, "the job knows which recipient works"
        dropped = UploadFailed() in self.events
        expected = 1 if job.state.terminal and not dropped else 0
        assert len(self.outcomes) == expected, "a terminal job has exactly one outcome, another none"
        if self.outcomes:
            assert self.outcomes[0].state is job.state, "the outcome is the state"
        if job.state is State.QUEUED:
            assert job.next_contender is not None, "a queued job has a recipient to wait for"
            assert job.attempt < job.attempts_max, "a queued job has an attempt left"
        if job.state is State.NEEDS_RECIPIENTS and Approved() not in self.events:
            assert job.next_contender is None, "a job waits for recipients only when none is left"

    def replay(self) -> Job:
        """The job rebuilt from its accepted events alone, as after a crash."""
        job = self.first
        for now, event in enumerate(self.events):
            job, _ = advance(job, event, now_ns=now)
        return job


def contender(number: int, runner: str) -> Contender:
    """A recipient with a key of its own."""
    return Contender(spiffe_id=runner, jurisdiction="FR", kid=number.to_bytes(32, "big"))


class LifecycleMachine(RuleBasedStateMachine):
    """Any event, in any order, any number of times."""

    @initialize(runners=st.lists(st.sampled_from(RUNNERS), max_size=4), attempts=st.integers(1, 4))
    def begin(self, runners: list[str], attempts: int) -> None:
        contenders = tuple(contender(n, runner) for n, runner in enumerate(runners))
        self.history = History(Job(attempts_max=attempts, deadline_ns=10, contenders=contenders))

    @rule(event=st.sampled_from(PLAIN))
    def plain(self, event: Event) -> None:
        self.history.feed(event)

    @rule(data=st.data())
    def progress(self, data: st.DataObject) -> None:
        legal = [event for event in PLAIN if (self.history.job.state, type(event)) in lifecycle.TABLE]
        if legal:
            self.history.feed(data.draw(st.sampled_from(legal)))

    @rule(kind=st.sampled_from((Claimed, RecipientDenied, RecipientGone)), runner=st.sampled_from(RUNNERS))
    def recipient(self, kind: Callable[..., Event], runner: str) -> None:
        self.history.feed(kind(spiffe_id=runner))

    @rule()
    def claim_next(self) -> None:
        following = self.history.job.next_contender
        if following:
            self.history.feed(Claimed(spiffe_id=following.spiffe_id))

    @rule(exit_class=st.sampled_from(list(ExitClass)))
    def receipt(self, exit_class: ExitClass) -> None:
        self.history.feed(ReceiptArrived(exit_class=exit_class))

    @rule(runner=st.sampled_from(RUNNERS))
    def new_recipient(self, runner: str) -> None:
        self.history.kids += 1
        self.history.feed(RecipientsAdded(contenders=(contender(1000 + self.history.kids, runner),)))

    @rule(data=st.data())
    def old_recipient_again(self, data: st.DataObject) -> None:
        if self.history.job.contenders:
            old = data.draw(st.sampled_from(self.history.job.contenders))
            self.history.feed(RecipientsAdded(contenders=(replace(old, spent=False),)))

    @invariant()
    def every_sentence_holds(self) -> None:
        if hasattr(self, "history"):
            self.history.check()

    def teardown(self) -> None:
        if hasattr(self, "history"):
            assert self.history.replay() == self.history.job, "the accepted events alone rebuild the job"


def run(examples: int, *, phases: tuple[Phase, ...] = tuple(Phase)) -> None:
    run_state_machine_as_test(
        LifecycleMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            phases=phases,
            report_multiple_bugs=False,
        ),
    )


def test_random_events_never_break_an_invariant() -> None:
    run(2 * settings().max_examples)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_many_random_events_never_break_an_invariant() -> None:
    run(5_000)


# --- controls: a broken rule is noticed --------------------------------------------------------------------------


def _spend_nothing(job: Job, contender: Contender) -> Job:
    return job


def _always_queue(job: Job) -> lifecycle.Step:
    return replace(job, state=State.QUEUED), (Enqueue(),)


def _claim_without_counting(job: Job, event: Event, now_ns: int) -> lifecycle.Step:
    claimed, effects = lifecycle._claim(job, event, now_ns)
    return replace(claimed, attempt=job.attempt), effects


def _claim_over_a_live_attempt(job: Job, event: Event, now_ns: int) -> lifecycle.Step:
    return lifecycle._claim(job, event, now_ns)


def _forget_the_cause(job: Job, event: Event, now_ns: int) -> lifecycle.Step:
    return lifecycle._end(job, State.CANCELLED)


def _end_twice(job: Job, event: Event, now_ns: int) -> lifecycle.Step:
    ended, effects = lifecycle._end(job, State.CANCELLED)
    return ended, (*effects, *effects)


CONTROLS: list[tuple[str, dict[str, object], dict[tuple[State, type], lifecycle.Rule]]] = [
    ("never offered|no recipient gets two offers|knows which recipient works", {"_spend": _spend_nothing}, {}),
    ("a queued job has a recipient to wait for", {"_requeue": _always_queue}, {}),
    ("the attempt counts the offers|attempts strictly rise", {}, {(State.QUEUED, Claimed): _claim_without_counting}),
    ("at most one attempt is live", {}, {(State.RUNNING, Claimed): _claim_over_a_live_attempt}),
    (
        "ends by its cause",
        {},
        {(State.CANCELLING, event): _forget_the_cause for event in (AttemptClosed, AttemptLost, ReceiptArrived)},
    ),
    ("exactly one outcome", {}, {(State.QUEUED, CancelAsked): _end_twice}),
    ("a terminal job accepts nothing", {}, {(State.CANCELLED, DeadlinePassed): _forget_the_cause}),
    ("exactly one outcome", {}, {(State.PENDING, UploadFailed): lambda job, *_: lifecycle._end(job, State.FAILED)}),
]


@pytest.mark.parametrize(("sentence", "functions", "rules"), CONTROLS, ids=[c[0] for c in CONTROLS])
def test_control_a_broken_rule_is_noticed(
    sentence: str,
    functions: dict[str, object],
    rules: dict[tuple[State, type], lifecycle.Rule],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, function in functions.items():
        monkeypatch.setattr(lifecycle, name, function)
    for pair, broken in rules.items():
        monkeypatch.setitem(lifecycle.TABLE, pair, broken)
    with pytest.raises(AssertionError, match=sentence):
        run(400, phases=(Phase.generate,))


@given(st.lists(st.sampled_from(PLAIN), max_size=30))
def test_a_job_without_recipients_never_works(events: list[Event]) -> None:
    job = Job(deadline_ns=10)
    for event in events:
        try:
            job, _ = advance(job, event, now_ns=0)
        except (IllegalTransition, LeaseLost):
            continue
        assert job.state not in (*WORKING, State.QUEUED, State.SUCCEEDED)
