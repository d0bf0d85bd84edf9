"""Placement: each obstacle has its word, all of them are named, the law comes first, and order never matters."""

import json
from dataclasses import replace
from typing import Any

import pytest

from carnet.core import limits
from carnet.core.decision import DecisionBody, Effect, Enforcer, Obligation, Reason, RunnerVerdict, parse_body
from carnet.core.errors import Bug, StatementInvalid
from carnet.core.facts import JobFacts, parse_facts
from carnet.core.placement import Cause, Rejection, RunnerOffer, place, shortlist
from carnet.core.runner import Device, Evidence, Isolation, RunnerCard, RunnerFacts

NOW = 1_000
LATER = 10_000
IMAGE = "registry.example/train@sha256:" + "a" * 64


def job_facts(**changes: Any) -> JobFacts:
    document = {
        "schema": "carnet.facts/v1",
        "purpose": "training",
        "controller": {"entity": "Klinik", "country": "DE", "sectors": ["health"], "public_body": False},
        "data": {
            "classes": ["health"],
            "subject_jurisdictions": ["DE"],
            "origin_jurisdiction": "DE",
            "records": 1,
            "pseudonymised": True,
        },
        "transfer": {"mechanisms": [], "importers": []},
        "technology": {"controlled": "no", "itar": "no", "eccns": [], "eu_codes": [], "licences": []},
        "end_user": {"entity": "Klinik", "country": "DE", "parent_country": "DE", "use": "civil"},
        "constraints": {"only": [], "never": [], "parent_never": [], "isolation_min": "container"},
        "image": IMAGE,
        "resources": {"cpu_millis": 1000, "memory_bytes": limits.GIB, "work_bytes": limits.GIB, "gpus": 1},
        "caps": {"seconds": 100, "price_micro_usd": 1_000, "attempts": 1},
    }
    return parse_facts(json.dumps({**document, **changes}).encode())


def decision(*permitted: str, **changes: Any) -> DecisionBody:
    document = {
        "schema": "carnet.decision/v1",
        "verdict": "permit",
        "permitted": list(permitted),
        "blocked": {"GDPR-44": ["US"], "OFAC-1": ["UA-43", "US"]},
        "obligations": [],
        "reasons": [],
        "rules_evaluated": ["GDPR-44", "OFAC-1"],
        "exemptions_used": [],
        "unverified_rows_used": [],
        "valid_until_ns": LATER,
        "revisions": {"rules": "sha256:1", "data": "sha256:2"},
        "disclaimer": "not-legal-advice",
    }
    return parse_body(json.dumps({**document, **changes}).encode())


def offer(
    number: int = 1,
    *,
    place: str = "FR",
    price: int = 10,
    slots_free: int = 1,
    draining: bool = False,
    seal_until_ns: int = LATER,
    **card: Any,
) -> RunnerOffer:
    spiffe_id = f"spiffe://gpu.example/j/{place}/runner/{number}"
    values: dict[str, Any] = {
        "payload": f"card {number} {place} {price}".encode(),
        "spiffe_id": spiffe_id,
        "issued_ns": 0,
        "expires_ns": LATER,
        "agent_version": "1",
        "slots": 1,
        "cpu_millis": 1000,
        "memory_bytes": limits.GIB,
        "work_bytes": limits.GIB,
        "devices": (Device(uuid="GPU-1", model="T4", memory_bytes=16 * limits.GIB),),
        "isolation": Isolation.CONTAINER,
        "isolation_facts": (),
        "template_digest": b"t" * 32,
        "images": (),
        "price_micro_usd_second": price,
    }
    made = RunnerCard(**{**values, **card})
    told = RunnerFacts(
        spiffe_id=spiffe_id,
        jurisdiction=place,
        operator="gpu.example",
        operator_country=place[:2],
        parent_country=place[:2],
        evidence=Evidence.OPERATOR,
        isolation=made.isolation,
        gpus=len(made.devices),
        card_digest=made.digest,
    )
    return RunnerOffer(facts=told, card=made, slots_free=slots_free, draining=draining, seal_until_ns=seal_until_ns)


def verdict_on(judged: RunnerOffer, **changes: Any) -> RunnerVerdict:
    verdict = RunnerVerdict(
        spiffe_id=judged.facts.spiffe_id,
        jurisdiction=judged.facts.jurisdiction,
        card_digest=judged.card.digest,
        permitted=True,
        obligations=(),
        reasons=(),
        valid_until_ns=LATER,
    )
    return replace(verdict, **changes)


def isolation_of(level: str, *, enforcer: Enforcer = Enforcer.RUNNER, kind: str = "isolation_min") -> Obligation:
    return Obligation(type=kind, value=level, rule="ORG-1", citations=(), enforcer=enforcer)


DENIED = Reason(
    rule="CLOUD-1", effect=Effect.DENY, jurisdictions=("FR",), citations=(), message="m", parameters=(), fix=()
)

OBSTACLES: dict[Cause, tuple[RunnerOffer, DecisionBody, dict[str, Any]]] = {
    Cause.DECISION_EXPIRED: (offer(), decision("FR", valid_until_ns=NOW), {}),
    Cause.OBLIGATION_UNKNOWN: (
        offer(),
        decision("FR"),
        {"obligations": (isolation_of("container", kind="burn_after_reading"),)},
    ),
    Cause.JURISDICTION_NOT_PERMITTED: (offer(place="US"), decision("FR"), {}),
    Cause.NOT_JUDGED: (offer(), decision("FR"), {"card_digest": b"another card".ljust(32)}),
    Cause.RUNNER_DENIED: (offer(), decision("FR"), {"permitted": False, "reasons": (DENIED,)}),
    Cause.CPU_TOO_SMALL: (offer(cpu_millis=999), decision("FR"), {}),
    Cause.MEMORY_TOO_SMALL: (offer(memory_bytes=limits.GIB - 1), decision("FR"), {}),
    Cause.WORK_TOO_SMALL: (offer(work_bytes=limits.GIB - 1), decision("FR"), {}),
    Cause.GPUS_TOO_FEW: (offer(devices=()), decision("FR"), {}),
    Cause.ISOLATION_TOO_WEAK: (offer(isolation=Isolation.PROCESS), decision("FR"), {}),
    Cause.PRICE_ABOVE_CAP: (offer(price=11), decision("FR"), {}),
    Cause.RUNNER_DRAINING: (offer(draining=True), decision("FR"), {}),
    Cause.CARD_EXPIRED: (offer(expires_ns=NOW), decision("FR"), {}),
    Cause.RECIPIENT_KEY_EXPIRED: (offer(seal_until_ns=NOW), decision("FR"), {}),
    Cause.IMAGE_NOT_ALLOWED: (offer(images=("sha256:" + "b" * 64,)), decision("FR"), {}),
}


@pytest.mark.parametrize("cause", OBSTACLES)
def test_each_obstacle_alone_rejects_with_its_word(cause: Cause) -> None:
    found, body, changes = OBSTACLES[cause]
    placed = place(job_facts(), body, [found], [verdict_on(found, **changes)], now_ns=NOW, limit=4)
    assert placed.matched == ()
    (rejection,) = placed.rejected
    assert [obstacle.cause for obstacle in rejection.obstacles] == [cause]
    assert rejection.first.text.endswith(".")


def test_every_cause_has_a_case_here() -> None:
    assert {*OBSTACLES, Cause.OUTRANKED} == set(Cause)


def test_control_without_an_obstacle_the_runner_is_matched() -> None:
    placed = place(job_facts(), decision("FR"), [offer()], [verdict_on(offer())], now_ns=NOW, limit=4)
    assert placed.rejected == ()
    (match,) = placed.matched
    assert (match.offer, match.price_micro_usd) == (offer(), 1_000)


def test_all_obstacles_are_named_in_order_and_the_law_comes_first() -> None:
    worst = offer(
        place="US",
        price=99,
        draining=True,
        seal_until_ns=0,
        cpu_millis=1,
        memory_bytes=1,
        work_bytes=1,
        devices=(),
        isolation=Isolation.PROCESS,
        images=("sha256:" + "b" * 64,),
        expires_ns=0,
    )
    (rejection,) = place(job_facts(), decision("FR"), [worst], [], now_ns=NOW, limit=4).rejected
    causes = [obstacle.cause for obstacle in rejection.obstacles]
    assert rejection.first.cause is Cause.JURISDICTION_NOT_PERMITTED
    assert causes == sorted(causes, key=list(Cause).index)
    assert set(Cause) - set(causes) == {
        Cause.DECISION_EXPIRED,
        Cause.OBLIGATION_UNKNOWN,
        Cause.RUNNER_DENIED,
        Cause.OUTRANKED,
    }


def test_a_place_that_is_not_permitted_names_the_rules_that_block_it() -> None:
    rejected = shortlist(job_facts(), decision("FR"), [offer(1, place="US"), offer(2, place="JP")], now_ns=NOW).rejected
    by_place = {rejection.jurisdiction: rejection.first.rules for rejection in rejected}
    assert by_place == {"US": ("GDPR-44", "OFAC-1"), "JP": ()}


def test_a_blocked_region_does_not_follow_its_country() -> None:
    offers = [offer(1, place="UA-43"), offer(2, place="UA-30"), offer(3, place="UA")]
    placed = shortlist(job_facts(), decision("UA"), offers, now_ns=NOW)
    assert {match.offer.facts.jurisdiction for match in placed.matched} == {"UA-30", "UA"}
    assert placed.rejected[0].first.rules == ("OFAC-1",)


@pytest.mark.parametrize(("word", "places"), [("deny", ()), ("review", ("FR",))])
def test_a_decision_that_does_not_permit_matches_nobody(word: str, places: tuple[str, ...]) -> None:
    placed = shortlist(job_facts(), decision(*places, verdict=word), [offer()], now_ns=NOW)
    assert (placed.matched, len(placed.rejected)) == ((), 1)


def test_attack_a_runner_that_stage_two_never_saw_is_not_placed() -> None:
    placed = place(job_facts(), decision("FR"), [offer(1), offer(2)], [verdict_on(offer(1))], now_ns=NOW, limit=4)
    assert [match.offer for match in placed.matched] == [offer(1)]
    assert placed.rejected[0].first.cause is Cause.NOT_JUDGED


@pytest.mark.parametrize(
    "other", [{"jurisdiction": "DE"}, {"card_digest": b"x" * 32}, {"valid_until_ns": NOW}], ids=lambda o: next(iter(o))
)
def test_attack_a_verdict_on_another_place_card_or_time_is_used(other: dict[str, Any]) -> None:
    placed = place(job_facts(), decision("FR"), [offer()], [verdict_on(offer(), **other)], now_ns=NOW, limit=4)
    assert placed.rejected[0].first.cause is Cause.NOT_JUDGED


def test_of_two_verdicts_on_one_runner_the_denial_counts() -> None:
    verdicts = [verdict_on(offer()), verdict_on(offer(), permitted=False, reasons=(DENIED,))]
    for order in (verdicts, verdicts[::-1]):
        placed = place(job_facts(), decision("FR"), [offer()], order, now_ns=NOW, limit=4)
        assert placed.rejected[0].first.cause is Cause.RUNNER_DENIED
        assert placed.rejected[0].first.rules == ("CLOUD-1",)


@pytest.mark.parametrize("source", ["facts", "body", "verdict"])
def test_the_strongest_isolation_floor_counts(source: str) -> None:
    constraints = {"only": [], "never": [], "parent_never": [], "isolation_min": "gvisor"}
    facts = job_facts(constraints=constraints) if source == "facts" else job_facts()
    duty = {"type": "isolation_min", "value": "gvisor", "rule": "R", "citations": [], "enforcer": "runner"}
    body = decision("FR", obligations=[duty] if source == "body" else [])
    offers = [offer(1), offer(2, isolation=Isolation.MICROVM)]
    duties = (isolation_of("gvisor"),) if source == "verdict" else ()
    placed = place(facts, body, offers, [verdict_on(o, obligations=duties) for o in offers], now_ns=NOW, limit=4)
    assert [match.offer for match in placed.matched] == [offers[1]]
    assert placed.rejected[0].first.cause is Cause.ISOLATION_TOO_WEAK


@pytest.mark.parametrize(
    "duty", [isolation_of("bunker"), isolation_of("container", enforcer=Enforcer.CLIENT)], ids=["level", "enforcer"]
)
def test_an_obligation_that_is_not_understood_matches_nobody(duty: Obligation) -> None:
    placed = place(
        job_facts(), decision("FR"), [offer()], [verdict_on(offer(), obligations=(duty,))], now_ns=NOW, limit=4
    )
    assert [o.cause for o in placed.rejected[0].obstacles] == [Cause.OBLIGATION_UNKNOWN]


def test_a_match_carries_the_duties_of_both_stages() -> None:
    verdict = verdict_on(offer(), obligations=(isolation_of("container"),))
    (match,) = place(job_facts(), decision("FR"), [offer()], [verdict], now_ns=NOW, limit=4).matched
    assert match.obligations == (isolation_of("container"),)


@pytest.mark.parametrize("images", [(), (IMAGE,), (IMAGE.split("@")[1],), ("sha256:" + "b" * 64, IMAGE)], ids=len)
def test_an_image_is_allowed_by_name_or_digest_or_where_there_is_no_list(images: tuple[str, ...]) -> None:
    assert shortlist(job_facts(), decision("FR"), [offer(images=images)], now_ns=NOW).matched


def test_attack_the_same_name_with_another_digest_is_not_on_the_list() -> None:
    images = (IMAGE.replace("a" * 64, "b" * 64), IMAGE.split("@")[0])
    assert not shortlist(job_facts(), decision("FR"), [offer(images=images)], now_ns=NOW).matched


def test_the_cheapest_comes_first_then_the_smaller_id_and_the_busy_last() -> None:
    offers = [offer(4, price=9), offer(3, price=5), offer(1, price=9), offer(2, price=1, slots_free=0)]
    placed = shortlist(job_facts(), decision("FR"), offers, now_ns=NOW)
    assert [match.offer.facts.spiffe_id[-1] for match in placed.matched] == ["3", "1", "4", "2"]
    assert shortlist(job_facts(), decision("FR"), offers[::-1], now_ns=NOW) == placed


@pytest.mark.parametrize("limit", [-1, 0, 1, 2, 3])
def test_whoever_is_beyond_the_limit_is_outranked(limit: int) -> None:
    offers = [offer(1, price=1), offer(2, price=2)]
    placed = place(job_facts(), decision("FR"), offers, [verdict_on(o) for o in offers], now_ns=NOW, limit=limit)
    kept = max(0, min(limit, 2))
    assert [match.offer for match in placed.matched] == offers[:kept]
    assert [rejection.first.cause for rejection in placed.rejected] == [Cause.OUTRANKED] * (2 - kept)


def test_a_short_list_is_bounded() -> None:
    offers = [offer(number) for number in range(limits.shortlist_max + 5)]
    placed = shortlist(job_facts(), decision("FR"), offers, now_ns=NOW, limit=10**6)
    assert (len(placed.matched), len(placed.rejected)) == (limits.shortlist_max, 5)


def test_two_offers_of_one_runner_are_a_bug() -> None:
    with pytest.raises(Bug):
        shortlist(job_facts(), decision("FR"), [offer(1, price=1), offer(1, price=2)], now_ns=NOW)


@pytest.mark.parametrize(
    "other",
    [{"card_digest": b"x" * 32}, {"spiffe_id": "spiffe://x"}, {"isolation": Isolation.TEE}, {"gpus": 8}],
    ids=lambda other: next(iter(other)),
)
def test_attack_facts_that_flatter_the_card_are_no_offer(other: dict[str, Any]) -> None:
    with pytest.raises(StatementInvalid):
        replace(offer(), facts=replace(offer().facts, **other))


def test_a_negative_price_is_no_offer_and_a_rejection_needs_a_reason() -> None:
    with pytest.raises(StatementInvalid):
        offer(price=-1)
    with pytest.raises(Bug):
        Rejection(spiffe_id="x", jurisdiction="FR", obstacles=())
