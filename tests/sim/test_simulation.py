"""Thousands of seeded lives of a job; the oracle's sentences hold in each, and each broken rule is noticed by one."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from weakref import WeakKeyDictionary

import pytest

from carnet.core import decision, lifecycle
from carnet.core.decision import DecisionBody
from carnet.core.job import JobState as State
from carnet.core.lease import HeldLease, Lease, Renewal
from carnet.core.lifecycle import Claimed, Enqueue, Event, Job
from carnet.core.receipt import ExitClass
from tests.sim import oracle
from tests.sim.dispatcher import Dispatcher
from tests.sim.host import Host
from tests.sim.oracle import Broken
from tests.sim.scenario import Scenario

BATCHES = 8
SEEDS = 500
SEEDS_FULL = 25_000


def run_seeds(first: int, count: int) -> Counter[str]:
    """Run that many seeds; returns how often each thing was seen."""
    seen: Counter[str] = Counter()
    for seed in range(first, first + count):
        try:
            ending = Scenario(seed).run()
        except Broken as broken:
            raise Broken(f"{broken} (seed {seed})") from broken
        seen[ending.state] += 1
        seen.update(ending.events)
        seen["bytes"] += ending.bytes_sent
        seen["results"] += ending.results
        seen["refused results"] += ending.refused_results
        seen["failover"] += ending.attempts > 1
    return seen


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_sentence_of_the_oracle_holds_in_every_run(batch: int) -> None:
    run_seeds(batch * SEEDS, SEEDS)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_sentence_of_the_oracle_holds_in_very_many_runs(batch: int) -> None:
    run_seeds(1_000_000 + batch * SEEDS_FULL, SEEDS_FULL)


def test_a_seed_replays_to_the_event() -> None:
    assert [Scenario(seed).run() for seed in range(30)] == [Scenario(seed).run() for seed in range(30)]


def test_the_simulator_sees_every_kind_of_end_and_every_kind_of_event() -> None:
    seen = run_seeds(0, 300)
    ends = {state for state in State if state.terminal} | {State.NEEDS_RECIPIENTS}
    happenings = {kind.__name__ for kind in Event.__args__} - {"UploadFailed"}
    for name in (*ends, *happenings, "bytes", "results", "refused results", "failover"):
        assert seen[name] > 0, name


# --- controls: a broken rule is noticed, and by the sentence that it breaks ---------------------------------------

Patch = pytest.MonkeyPatch


def results_are_not_fenced(patch: Patch) -> None:
    def receive(self: Dispatcher, host: Host, attempt: int, grant: bytes, exit_class: ExitClass) -> None:
        lifecycle.advance(self._job, lifecycle.ReceiptArrived(exit_class=exit_class), now_ns=self.now_ns)
        self.oracle.result_accepted(attempt=attempt)
        self.oracle.told(attempt=attempt)
        self._apply(lifecycle.ReceiptArrived(exit_class=exit_class))

    patch.setattr(Dispatcher, "_receive", receive)


def the_fence_lets_everybody_through(patch: Patch) -> None:
    patch.setattr(Lease, "check_fence", lambda self, **_: None)


def the_gateway_forgets_that_it_gave_time(patch: Patch) -> None:
    right = Lease.renew

    def renew(self: Lease, *, now_ns: int) -> tuple[Lease, int]:
        _, duration_ms = right(self, now_ns=now_ns)
        return self, duration_ms

    patch.setattr(Lease, "renew", renew)


def a_renewal_is_sent_before_it_is_durable(patch: Patch) -> None:
    right = Dispatcher.recover
    stored: WeakKeyDictionary[Dispatcher, dict[int, Lease | None]] = WeakKeyDictionary()

    def keep(self: Dispatcher, lease: Lease) -> None:
        stored.setdefault(self, {}).setdefault(lease.attempt, self.durable.lease)
        self.durable.lease = lease

    def recover(self: Dispatcher) -> None:
        lease = self.durable.lease
        if lease:
            self.durable.lease = stored.get(self, {}).get(lease.attempt, lease)
        right(self)

    patch.setattr(Dispatcher, "_keep", keep)
    patch.setattr(Dispatcher, "recover", recover)


def a_runner_takes_the_answer_to_an_older_ask(patch: Patch) -> None:
    right = HeldLease.answer

    def answer(self: HeldLease, renewal: Renewal) -> HeldLease:
        return right(self, replace(renewal, sequence=self.asked_sequence))

    patch.setattr(HeldLease, "answer", answer)


def a_runner_counts_from_when_the_answer_came(patch: Patch) -> None:
    right = Host.on_renewal

    def on_renewal(self: Host, renewal: Renewal) -> None:
        if self.work:
            self.work.lease = replace(self.work.lease, asked_at=self.monotonic)
        right(self, renewal)

    patch.setattr(Host, "on_renewal", on_renewal)


def a_grant_alone_gives_time(patch: Patch) -> None:
    right = HeldLease.ask

    def ask(self: HeldLease, *, monotonic: float) -> HeldLease:
        return replace(right(self, monotonic=monotonic), deadline=max(self.deadline, monotonic + 60))

    patch.setattr(HeldLease, "ask", ask)


def silence_counts_as_loss(patch: Patch) -> None:
    patch.setattr(Lease, "live", lambda self, *, now_ns: now_ns < self.deadline_ns - 50 * 10**9)


def only_the_newest_policy_counts(patch: Patch) -> None:
    def newest(before: DecisionBody, after: DecisionBody, place: str) -> bool:
        return after.permits(place)

    patch.setattr(decision, "both_permit", newest)


def policy_is_not_asked_again_at_dispatch(patch: Patch) -> None:
    patch.setattr(Dispatcher, "_ask_policy", lambda self: self.prepared)


def a_job_that_is_being_stopped_still_serves_bytes(patch: Patch) -> None:
    patch.setattr(Dispatcher, "_may_fetch", lambda self: True)


def a_job_queues_for_nobody(patch: Patch) -> None:
    def requeue(job: Job) -> lifecycle.Step:
        return replace(job, state=State.QUEUED), (Enqueue(),)

    patch.setattr(lifecycle, "_requeue", requeue)


def a_job_being_stopped_never_closes(patch: Patch) -> None:
    patch.setattr(lifecycle, "_close", lambda job, event, now_ns: (job, ()))
    for event in (lifecycle.AttemptClosed, lifecycle.AttemptLost, lifecycle.ReceiptArrived):
        patch.setitem(lifecycle.TABLE, (State.CANCELLING, event), lambda job, event, now_ns: (job, ()))


def an_attempt_is_not_counted(patch: Patch) -> None:
    right: Callable[..., lifecycle.Step] = lifecycle.TABLE[(State.QUEUED, Claimed)]

    def claim(job: Job, event: Event, now_ns: int) -> lifecycle.Step:
        claimed, (offer,) = right(job, event, now_ns)
        assert isinstance(offer, lifecycle.Offer)
        return replace(claimed, attempt=1), (replace(offer, attempt=1),)

    patch.setitem(lifecycle.TABLE, (State.QUEUED, Claimed), claim)


def an_outcome_is_logged_twice(patch: Patch) -> None:
    right = lifecycle._end

    def end(job: Job, state: State, reason: str = "") -> lifecycle.Step:
        ended, effects = right(job, state, reason)
        return ended, (*effects, *effects)

    patch.setattr(lifecycle, "_end", end)


def effects_run_before_the_row_is_durable(patch: Patch) -> None:
    right = Dispatcher.recover

    def recover(self: Dispatcher) -> None:
        del self.durable.rows[-1:]
        right(self)

    patch.setattr(Dispatcher, "recover", recover)


CONTROLS: list[tuple[Callable[[Patch], None], tuple[str, ...]]] = [
    (results_are_not_fenced, (oracle.LATE,)),
    (the_fence_lets_everybody_through, (oracle.ONE_LEASE, oracle.LATE)),
    (the_gateway_forgets_that_it_gave_time, (oracle.ONE_HOLDER,)),
    (a_renewal_is_sent_before_it_is_durable, (oracle.ONE_LEASE,)),
    (a_runner_takes_the_answer_to_an_older_ask, (oracle.ONE_HOLDER,)),
    (a_runner_counts_from_when_the_answer_came, (oracle.ONE_HOLDER,)),
    (a_grant_alone_gives_time, (oracle.ONE_HOLDER,)),
    (silence_counts_as_loss, (oracle.ONE_LEASE,)),
    (only_the_newest_policy_counts, (oracle.WIDENED,)),
    (policy_is_not_asked_again_at_dispatch, (oracle.OUTSIDE,)),
    (a_job_that_is_being_stopped_still_serves_bytes, (oracle.OUTSIDE,)),
    (a_job_queues_for_nobody, (oracle.WAITING,)),
    (a_job_being_stopped_never_closes, (oracle.WAITING,)),
    (an_attempt_is_not_counted, (oracle.RISING,)),
    (an_outcome_is_logged_twice, (oracle.OUTCOME,)),
    (effects_run_before_the_row_is_durable, (oracle.RISING, oracle.OUTCOME, oracle.WAITING)),
]


@pytest.mark.parametrize(("breaks", "sentences"), CONTROLS, ids=[breaks.__name__ for breaks, _ in CONTROLS])
def test_control_the_simulator_notices_when(
    breaks: Callable[[Patch], None], sentences: tuple[str, ...], monkeypatch: Patch
) -> None:
    breaks(monkeypatch)
    with pytest.raises(Broken) as noticed:
        run_seeds(0, 4_000)
    assert str(noticed.value).split(" (seed")[0] in sentences
