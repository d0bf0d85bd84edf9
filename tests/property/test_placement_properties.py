"""Whatever is offered: the law holds for each match, every offer has one place, and the input's order is nothing."""

import json
from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from carnet.core import limits
from carnet.core.decision import DecisionBody, RunnerVerdict, parse_body
from carnet.core.facts import JobFacts, parse_facts
from carnet.core.placement import RunnerOffer, place, shortlist
from carnet.core.runner import Evidence, Isolation, RunnerCard, RunnerFacts

NOW = 1_000
PLACES = ("FR", "DE", "US", "UA", "UA-43", "UA-30")


def body_of(permitted: list[str], blocked: list[str]) -> DecisionBody:
    return parse_body(
        json.dumps(
            {
                "schema": "carnet.decision/v1",
                "verdict": "permit",
                "permitted": [place for place in permitted if place not in blocked],
                "blocked": {"R": blocked},
                "obligations": [],
                "reasons": [],
                "rules_evaluated": ["R"],
                "exemptions_used": [],
                "unverified_rows_used": [],
                "valid_until_ns": 10_000,
                "revisions": {"rules": "r", "data": "d"},
                "disclaimer": "d",
            }
        ).encode()
    )


FACTS: JobFacts = parse_facts(
    json.dumps(
        {
            "schema": "carnet.facts/v1",
            "purpose": "other",
            "controller": {"entity": "E", "country": "DE", "sectors": [], "public_body": False},
            "data": {
                "classes": ["public"],
                "subject_jurisdictions": [],
                "origin_jurisdiction": "DE",
                "records": 0,
                "pseudonymised": False,
            },
            "transfer": {"mechanisms": [], "importers": []},
            "technology": {"controlled": "no", "itar": "no", "eccns": [], "eu_codes": [], "licences": []},
            "end_user": {"entity": "Klinikum Musterstadt", "country": "DE", "parent_country": "DE", "use": "civil"},
            "constraints": {"only": [], "never": [], "parent_never": [], "isolation_min": "container"},
            "image": "sha256:" + "0" * 64,
            "resources": {"cpu_millis": 1000, "memory_bytes": limits.GIB, "work_bytes": limits.GIB, "gpus": 0},
            "caps": {"seconds": 10, "price_micro_usd": 500, "attempts": 1},
        }
    ).encode()
)


def offer_of(
    number: int, place: str, price: int, cpu: int, level: Isolation, draining: bool, slots: int
) -> RunnerOffer:
    spiffe_id = f"spiffe://gpu.example/j/{place}/runner/{number}"
    card = RunnerCard(
        payload=f"{number} {place} {price} {cpu} {level}".encode(),
        spiffe_id=spiffe_id,
        issued_ns=0,
        expires_ns=10_000,
        agent_version="1",
        slots=1,
        cpu_millis=cpu,
        memory_bytes=limits.GIB,
        work_bytes=limits.GIB,
        devices=(),
        isolation=level,
        isolation_facts=(),
        template_digest=b"",
        images=(),
        price_micro_usd_second=price,
    )
    facts = RunnerFacts(
        spiffe_id=spiffe_id,
        jurisdiction=place,
        operator="gpu.example",
        operator_country="FR",
        parent_country="FR",
        evidence=Evidence.SELF,
        isolation=level,
        gpus=0,
        card_digest=card.digest,
    )
    return RunnerOffer(facts=facts, card=card, slots_free=slots, draining=draining, seal_until_ns=10_000)


rows = st.tuples(
    st.sampled_from(PLACES),
    st.integers(0, 60),
    st.sampled_from((500, 1000, 2000)),
    st.sampled_from(list(Isolation)),
    st.booleans(),
    st.integers(0, 1),
)
fleets = st.lists(rows, max_size=12).map(lambda found: [offer_of(n, *row) for n, row in enumerate(found)])
places = st.lists(st.sampled_from(PLACES), unique=True)
decisions = st.builds(body_of, places, places)


def verdict_on(offer: RunnerOffer, permitted: bool) -> RunnerVerdict:
    return RunnerVerdict(
        spiffe_id=offer.facts.spiffe_id,
        jurisdiction=offer.facts.jurisdiction,
        card_digest=offer.card.digest,
        permitted=permitted,
        obligations=(),
        reasons=(),
        valid_until_ns=10_000,
    )


@given(fleet=fleets, body=decisions, bits=st.integers(0, 2**12 - 1), limit=st.integers(0, 14), seed=st.integers())
def test_the_law_holds_for_each_match_and_every_offer_has_one_place(
    fleet: list[RunnerOffer], body: DecisionBody, bits: int, limit: int, seed: int
) -> None:
    verdicts = [verdict_on(offer, bool(bits >> n & 1)) for n, offer in enumerate(fleet)]
    placed = place(FACTS, body, fleet, verdicts, now_ns=NOW, limit=limit)
    allowed = {verdict.spiffe_id for verdict in verdicts if verdict.permitted}
    blocked = {code for _, codes in body.blocked for code in codes}
    for match in placed.matched:
        where, card = match.offer.facts.jurisdiction, match.offer.card
        assert where not in blocked
        assert where in body.permitted or where[:2] in body.permitted
        assert match.offer.facts.spiffe_id in allowed
        assert card.cpu_millis >= 1000
        assert card.isolation is not Isolation.PROCESS
        assert card.price_micro_usd_second * 10 <= 500
        assert not match.offer.draining
    matched = [match.offer.facts.spiffe_id for match in placed.matched]
    rejected = [rejection.spiffe_id for rejection in placed.rejected]
    assert sorted(matched + rejected) == sorted(offer.facts.spiffe_id for offer in fleet)
    assert len(matched) <= limit
    Random(seed).shuffle(fleet)
    Random(seed).shuffle(verdicts)
    assert place(FACTS, body, fleet, verdicts, now_ns=NOW, limit=limit) == placed


@given(fleet=fleets, body=decisions, bits=st.integers(0, 2**12 - 1))
def test_stage_two_only_ever_takes_runners_away(fleet: list[RunnerOffer], body: DecisionBody, bits: int) -> None:
    short = {match.offer.facts.spiffe_id for match in shortlist(FACTS, body, fleet, now_ns=NOW).matched}
    verdicts = [verdict_on(offer, bool(bits >> n & 1)) for n, offer in enumerate(fleet)]
    placed = place(FACTS, body, fleet, verdicts, now_ns=NOW, limit=14)
    assert {match.offer.facts.spiffe_id for match in placed.matched} <= short


@given(fleet=fleets, body=decisions, gone=st.sampled_from(PLACES))
def test_a_narrower_decision_never_adds_a_match(fleet: list[RunnerOffer], body: DecisionBody, gone: str) -> None:
    narrower = replace(body, permitted=tuple(code for code in body.permitted if code != gone))
    wide = {match.offer.facts.spiffe_id for match in shortlist(FACTS, body, fleet, now_ns=NOW).matched}
    narrow = {match.offer.facts.spiffe_id for match in shortlist(FACTS, narrower, fleet, now_ns=NOW).matched}
    assert narrow <= wide
