"""Placement: which runners may take a job, in which order, and what stands in the way of the others.

Rules:
- The law is a filter and is never traded off: decision, stage 2, capacity, isolation, price cap, drain, key and image
  are judged for each offer, and an offer with any obstacle is out, with all its obstacles named, the first one first.
- Those that are left are ordered: a free slot first, then price, then id. Integers only; the order of the input never
  matters, so that a decision replays to the byte.
- Every offer is either matched or rejected. One that is good but beyond the limit is rejected as OUTRANKED.
- Two steps: `shortlist` before stage 2 of policy (it judges all but stage 2), `place` after. `place` matches nobody
  whom stage 2 did not permit, by the digest of the very card that was judged.

    short = shortlist(facts, body, offers, now_ns=now)
    verdicts = engine.judge(facts, [match.offer.facts for match in short.matched])
    found = place(facts, body, offers, verdicts, now_ns=now, limit=16)
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from carnet.core import limits
from carnet.core.decision import DecisionBody, Obligation, RunnerVerdict, check_obligations
from carnet.core.errors import Bug, PolicyDenied, StatementInvalid
from carnet.core.facts import JobFacts, country_of
from carnet.core.runner import Isolation, RunnerCard, RunnerFacts


class Cause(StrEnum):
    """Why a runner is not matched, in the order in which it is looked at. The words are stable."""

    DECISION_EXPIRED = "DECISION_EXPIRED"
    OBLIGATION_UNKNOWN = "OBLIGATION_UNKNOWN"
    JURISDICTION_NOT_PERMITTED = "JURISDICTION_NOT_PERMITTED"
    NOT_JUDGED = "NOT_JUDGED"
    RUNNER_DENIED = "RUNNER_DENIED"
    CPU_TOO_SMALL = "CPU_TOO_SMALL"
    MEMORY_TOO_SMALL = "MEMORY_TOO_SMALL"
    WORK_TOO_SMALL = "WORK_TOO_SMALL"
    GPUS_TOO_FEW = "GPUS_TOO_FEW"
    ISOLATION_TOO_WEAK = "ISOLATION_TOO_WEAK"
    PRICE_ABOVE_CAP = "PRICE_ABOVE_CAP"
    RUNNER_DRAINING = "RUNNER_DRAINING"
    CARD_EXPIRED = "CARD_EXPIRED"
    RECIPIENT_KEY_EXPIRED = "RECIPIENT_KEY_EXPIRED"
    IMAGE_NOT_ALLOWED = "IMAGE_NOT_ALLOWED"
    OUTRANKED = "OUTRANKED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One thing in the way of a runner: a stable word, a sentence, and the ids of the rules behind it, if any."""

    cause: Cause
    text: str
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOffer:
    """A runner that could take a job. The card's capacity and price are those of one slot."""

    facts: RunnerFacts
    card: RunnerCard
    slots_free: int
    draining: bool
    seal_until_ns: int

    def __post_init__(self) -> None:
        told = (self.facts.spiffe_id, self.facts.card_digest, self.facts.isolation, self.facts.gpus)
        if told != (self.card.spiffe_id, self.card.digest, self.card.isolation, len(self.card.devices)):
            raise StatementInvalid("A runner's facts and its card differ.")
        if self.card.price_micro_usd_second < 0:
            raise StatementInvalid("A runner's price must not be negative.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A runner that may take the job. `price_micro_usd` is the most that one attempt can cost."""

    offer: RunnerOffer
    price_micro_usd: int
    obligations: tuple[Obligation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A runner that is not matched, and all that is in its way, in the order of `Cause`."""

    spiffe_id: str
    jurisdiction: str
    obstacles: tuple[Obstacle, ...]

    def __post_init__(self) -> None:
        if not self.obstacles:
            raise Bug("A rejection needs a reason.")

    @property
    def first(self) -> Obstacle:
        """The first thing in the way."""
        return self.obstacles[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The answer: best first, and the rejected by id."""

    matched: tuple[Match, ...]
    rejected: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    facts: JobFacts
    body: DecisionBody
    verdicts: dict[str, tuple[RunnerVerdict, ...]] | None
    now_ns: int

    def verdicts_on(self, offer: RunnerOffer) -> tuple[RunnerVerdict, ...]:
        """What stage 2 said of the runner; nothing before it was asked, or where it left the runner out."""
        return (self.verdicts or {}).get(offer.facts.spiffe_id, ())

    def obligations_on(self, offer: RunnerOffer) -> tuple[Obligation, ...]:
        """The duties of the job, and those of this very runner."""
        return self.body.obligations + tuple(o for v in self.verdicts_on(offer) for o in v.obligations)


def shortlist(
    facts: JobFacts,
    body: DecisionBody,
    offers: Iterable[RunnerOffer],
    *,
    now_ns: int,
    limit: int = limits.shortlist_max,
) -> Placement:
    """The best runners to ask stage 2 about. A match here is not yet permitted. Raises `Bug` on a repeated runner."""
    question = _Question(facts=facts, body=body, verdicts=None, now_ns=now_ns)
    return _rank(question, tuple(offers), min(limit, limits.shortlist_max))


def place(
    facts: JobFacts,
    body: DecisionBody,
    offers: Iterable[RunnerOffer],
    verdicts: Iterable[RunnerVerdict],
    *,
    now_ns: int,
    limit: int,
) -> Placement:
    """The runners that may take the job, best first, at most `limit`. Raises `Bug` on a repeated runner."""
    question = _Question(facts=facts, body=body, verdicts=_by_runner(verdicts), now_ns=now_ns)
    return _rank(question, tuple(offers), limit)


def _rank(question: _Question, offers: tuple[RunnerOffer, ...], limit: int) -> Placement:
    if len({offer.facts.spiffe_id for offer in offers}) != len(offers):
        raise Bug("Two offers name the same runner.")
    judged = [(offer, tuple(_obstacles(question, offer))) for offer in offers]
    good = sorted((offer for offer, obstacles in judged if not obstacles), key=_order)
    outranked = Obstacle(cause=Cause.OUTRANKED, text="Enough runners are free sooner or cost less.")
    rejected = [_reject(offer, obstacles) for offer, obstacles in judged if obstacles]
    rejected += [_reject(offer, (outranked,)) for offer in good[max(0, limit) :]]
    return Placement(
        matched=tuple(_match(question, offer) for offer in good[: max(0, limit)]),
        rejected=tuple(sorted(rejected, key=lambda rejection: rejection.spiffe_id)),
    )


def _order(offer: RunnerOffer) -> tuple[bool, int, str]:
    return offer.slots_free <= 0, offer.card.price_micro_usd_second, offer.facts.spiffe_id


def _match(question: _Question, offer: RunnerOffer) -> Match:
    return Match(offer=offer, price_micro_usd=_price(question, offer), obligations=question.obligations_on(offer))


def _reject(offer: RunnerOffer, obstacles: tuple[Obstacle, ...]) -> Rejection:
    return Rejection(spiffe_id=offer.facts.spiffe_id, jurisdiction=offer.facts.jurisdiction, obstacles=obstacles)


def _by_runner(verdicts: Iterable[RunnerVerdict]) -> dict[str, tuple[RunnerVerdict, ...]]:
    found: dict[str, tuple[RunnerVerdict, ...]] = {}
    for verdict in verdicts:
        found[verdict.spiffe_id] = (*found.get(verdict.spiffe_id, ()), verdict)
    return found


def _price(question: _Question, offer: RunnerOffer) -> int:
    return offer.card.price_micro_usd_second * question.facts.caps.seconds


# --- what can be in the way --------------------------------------------------------------------------------------


def _obstacles(question: _Question, offer: RunnerOffer) -> Iterator[Obstacle]:
    for judge in _FILTERS:
        yield from judge(question, offer)


def _decision(question: _Question, offer: RunnerOffer) -> Iterator[Obstacle]:
    if question.now_ns >= question.body.valid_until_ns:
        yield Obstacle(cause=Cause.DECISION_EXPIRED, text="The decision is no longer valid.")
    try:
        check_obligations(question.obligations_on(offer))
        _floor(question, offer)
    except PolicyDenied as denied:
        yield Obstacle(cause=Cause.OBLIGATION_UNKNOWN, text=denied.text)


def _jurisdiction(question: _Question, offer: RunnerOffer) -> Iterator[Obstacle]:
    place = offer.facts.jurisdiction
    if question.body.permits(place):
        return
    here = {place, country_of(place)}
    rules = tuple(sorted(rule for rule, places in question.body.blocked if here & set(places)))
    because = f" by {', '.join(rules)}" if rules else ""
    yield Obstacle(cause=Cause.JURISDICTION_NOT_PERMITTED, text=f"{place} is not permitted{because}.", rules=rules)


def _stage_two(question: _Question, offer: RunnerOffer) -> Iterator[Obstacle]:
    if question.verdicts is None:
        return
    verdicts = question.verdicts_on(offer)
    if not verdicts or not all(_is_of(verdict, offer, now_ns=question.now_ns) for verdict in verdicts):
        yield Obstacle(cause=Cause.NOT_JUDGED, text="Policy has no valid answer on this runner and card.")
    if not all(verdict.permitted for verdict in verdicts):
        rules = tuple(sorted({reason.rule for v in verdicts if not v.permitted for reason in v.reasons}))
        because = f" by {', '.join(rules)}" if rules else ""
        yield Obstacle(cause=Cause.RUNNER_DENIED, text=f"Policy does not permit this runner{because}.", rules=rules)


def _is_of(verdict: RunnerVerdict, offer: RunnerOffer, *, now_ns: int) -> bool:
    same = (verdict.jurisdiction, verdict.card_digest) == (offer.facts.jurisdiction, offer.card.digest)
    return same and now_ns < verdict.valid_until_ns


def _capacity(question: _Question, offer: RunnerOffer) -> Iterator[Obstacle]:
    wanted, card = question.facts.resources, offer.card
    pairs = (
        (Cause.CPU_TOO_SMALL, "CPU (thousandths)", wanted.cpu_millis, card.cpu_millis),
        (Cause.MEMORY_TOO_SMALL, "memory (bytes)", wanted.memory_bytes, card.memory_bytes),
        (Cause.WORK_TOO_SMALL, "work space (bytes)", wanted.work_bytes, card.work_bytes),
        (Cause.GPUS_TOO_FEW, "GPUs", wanted.gpus, len(card.devices)),
    )
    for cause, what, asked, there in pairs:
        if asked > there:
            yield Obstacle(cause=cause, text=f"The job asks for {asked} of {what}; the runner has {there}.")


def _isolation(question: _Question, offer: RunnerOffer) -> Iterator[Obstacle]:
    try:
        floor = _floor(question, offer)
    except PolicyDenied:
        return  # named by _decision
    if not offer.card.isolation.at_least(floor):
        text = f"The job needs isolation {floor} or stronger; the runner has {offer.card.isolation}."
        yield Obstacle(cause=Cause.ISOLATION_TOO_WEAK, text=text)


def _floor(question: _Question, offer: RunnerOffer) -> Isolation:
    words = {str(o.value) for o in question.obligations_on(offer) if o.type == "isolation_min"}
    words.add(question.facts.constraints.isolation_min)
    order = [str(level) for level in Isolation]
    if not words <= set(order):
        raise PolicyDenied("An obligation names an unknown isolation level.")
    return Isolation(max(words, key=order.index))


def _cap(question: _Question, offer: RunnerOffer) -> Iterator[Obstacle]:
    price, cap = _price(question, offer), question.facts.caps.price_micro_usd
    if price > cap:
        text = f"An attempt can cost {price} micro-USD; the cap is {cap}."
        yield Obstacle(cause=Cause.PRICE_ABOVE_CAP, text=text)


def _standing(question: _Question, offer: RunnerOffer) -> Iterator[Obstacle]:
    if offer.draining:
        yield Obstacle(cause=Cause.RUNNER_DRAINING, text="The runner takes no new jobs.")
    if question.now_ns >= offer.card.expires_ns:
        yield Obstacle(cause=Cause.CARD_EXPIRED, text="The runner's card has expired.")
    if question.now_ns >= offer.seal_until_ns:
        yield Obstacle(cause=Cause.RECIPIENT_KEY_EXPIRED, text="The runner's key may no longer be sealed to.")


def _image(question: _Question, offer: RunnerOffer) -> Iterator[Obstacle]:
    if not offer.card.takes_image(question.facts.image):
        yield Obstacle(cause=Cause.IMAGE_NOT_ALLOWED, text="The image is not on the runner's list.")


_FILTERS: Final[tuple[Callable[[_Question, RunnerOffer], Iterator[Obstacle]], ...]] = (
    _decision,
    _jurisdiction,
    _stage_two,
    _capacity,
    _isolation,
    _cap,
    _standing,
    _image,
)
