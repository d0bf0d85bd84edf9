"""One seeded run: a job, three operators' hosts, a policy that changes, crashes, and then a quiet end.

The first `STORM_SECONDS` are bad weather; after that the network, the gateway and the policy engine hold still, so that
a job that has not ended by then can only be waiting for somebody.
"""

from dataclasses import dataclass
from random import Random

from carnet.core.job import JobState as State
from carnet.core.lifecycle import Accepted, ApprovalRefused, Approved, CancelAsked, Contender, Job, RecipientsAdded
from tests.sim.dispatcher import Dispatcher
from tests.sim.host import Host
from tests.sim.oracle import ONE_HOLDER, OUTCOME, WAITING, Oracle, promise
from tests.sim.world import PLACES, SECOND, START_NS, Policy, Weather, World, body_of

STORM_SECONDS = 500.0
END_SECONDS = 2_500.0
CALM = Weather(dropped=0.0, doubled=0.0, delay_seconds_max=0.2, delay_power=1)
WAITS_FOR_THE_CLIENT = (State.AWAITING_APPROVAL, State.NEEDS_RECIPIENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended, for the tests that ask whether the simulator sees anything at all."""

    state: State
    attempts: int
    bytes_sent: int
    results: int
    refused_results: int
    events: tuple[str, ...]


class Scenario:
    """Everything of one run, made from its seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = World(self.random, self._weather())
        self.steady = self.random.random() < 0.5
        first = frozenset(self.random.sample(PLACES, 3 if self.steady else self.random.randint(1, 3)))
        self.policy = Policy(self.world, [first])
        self.oracle = Oracle(self.world, self.policy, first)
        self.hosts = [self._host(number) for number in range(4)]
        self.oracle.hosts = self.hosts
        self.approval = self.random.random() < 0.1
        self.dispatcher = self._dispatcher(first)
        self.world.after_each = self.oracle.looked

    def run(self) -> Ending:
        """The storm, the calm, and the reckoning."""
        self._plan()
        self.world.run(until_seconds=STORM_SECONDS)
        self._calm_down()
        self._settle()
        job = self.dispatcher.job
        promise(job is not None, WAITING)
        assert job is not None
        promise(job.state.terminal or job.state in WAITS_FOR_THE_CLIENT, WAITING)
        promise(len(self.dispatcher.durable.outcomes) == int(job.state.terminal), OUTCOME)
        promise(not (job.state.terminal and any(host.believes() for host in self.hosts)), ONE_HOLDER)
        return Ending(
            state=job.state,
            attempts=job.attempt,
            bytes_sent=self.oracle.bytes_sent,
            results=self.oracle.results,
            refused_results=self.dispatcher.refused_results,
            events=tuple(type(event).__name__ for event, _ in self.dispatcher.durable.rows),
        )

    def _weather(self) -> Weather:
        return Weather(
            dropped=self.random.choice((0.0, 0.1, 0.4)),
            doubled=self.random.choice((0.0, 0.2, 0.5)),
            delay_seconds_max=self.random.choice((0.2, 5.0, 60.0)),
            delay_power=self.random.choice((1, 3)),
        )

    def _host(self, number: int) -> Host:
        place = PLACES[number % 3]
        spiffe_id = f"spiffe://gpu-{place.lower()}.example/j/{place}/runner/{number}"
        return Host(self.world, spiffe_id=spiffe_id, place=place, number=number)

    def _dispatcher(self, prepared: frozenset[str]) -> Dispatcher:
        contenders = () if self.approval else self._contenders(self.random.randint(1, 4))
        skew = self.random.uniform(-30, 30)
        deadline = self.random.choice((200, 450, 10_000))
        job = Job(
            deadline_ns=START_NS + int((deadline + skew) * SECOND),
            attempts_max=self.random.randint(1, 4),
            contenders=contenders,
        )
        body = body_of(prepared, valid_until_ns=START_NS + 600 * SECOND)
        dispatcher = Dispatcher(self.world, self.policy, self.oracle, prepared=body, job=job, skew_seconds=skew)
        dispatcher.hosts = {host.spiffe_id: host for host in self.hosts}
        dispatcher.crash_chance = self.random.choice((0.0, 0.05, 0.3))
        for host in self.hosts:
            host.dispatcher = dispatcher
        return dispatcher

    def _contenders(self, count: int) -> tuple[Contender, ...]:
        """Recipients as a client may list them, among them places that nobody permitted."""
        chosen = self.random.sample(self.hosts, count)
        return tuple(Contender(spiffe_id=h.spiffe_id, jurisdiction=h.place, kid=h.kid) for h in chosen)

    def _plan(self) -> None:
        later = self.random.uniform
        self.world.after(0.0, lambda: self.dispatcher.feed(Accepted(approval=self.approval)))
        self.world.after(1.0, self.dispatcher.tick)
        if self.approval:
            verdict = self.random.choice((Approved(), Approved(), ApprovalRefused()))
            self.world.after(later(1, 60), lambda: self.dispatcher.feed(verdict))
        if self.random.random() < 0.2:
            self.world.after(later(0, 300), lambda: self.dispatcher.feed(CancelAsked()))
        for _ in range(self.random.randint(0, 4)):
            if not self.steady:
                self.world.after(later(0, STORM_SECONDS), self._change_policy)
                self.world.after(later(0, STORM_SECONDS), self.random.choice(self.hosts).restart)
            self.world.after(later(0, STORM_SECONDS), self.dispatcher.crash)
            self.world.after(later(0, STORM_SECONDS), self._engine_falls)
            self.world.after(later(0, STORM_SECONDS), self._cut_off)
            self.world.after(later(0, STORM_SECONDS), self._add_recipients)

    def _change_policy(self) -> None:
        self.policy.revisions.append(frozenset(self.random.sample(PLACES, self.random.randint(0, 3))))

    def _cut_off(self) -> None:
        """The worst host to lose is the one that works."""
        job = self.dispatcher.job
        for host in self.hosts:
            if job is not None and host.spiffe_id == job.runner:
                host.fall_silent(self.random.uniform(20, 200))

    def _engine_falls(self) -> None:
        self.policy.up = False
        self.world.after(self.random.uniform(1, 120), self._engine_returns)

    def _engine_returns(self) -> None:
        self.policy.up = True

    def _add_recipients(self) -> None:
        job = self.dispatcher.job
        if job is not None and job.state is State.NEEDS_RECIPIENTS:
            self.dispatcher.feed(RecipientsAdded(contenders=self._contenders(self.random.randint(1, 2))))

    def _calm_down(self) -> None:
        self.world.weather = CALM
        self.policy.up = True
        for host in self.hosts:
            host.mute = False
        self.dispatcher.crash_chance = 0.0

    def _settle(self) -> None:
        """Wait until the job can not move, then long enough for each late message to arrive."""
        seconds = STORM_SECONDS
        while seconds < END_SECONDS:
            seconds += 100.0
            self.world.run(until_seconds=seconds)
            job = self.dispatcher.job
            if job and (job.state.terminal or job.state in WAITS_FOR_THE_CLIENT) and seconds > STORM_SECONDS + 200:
                return
