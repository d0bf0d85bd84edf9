"""Values for the command's tests, built through core: a denial, a permission, and a receipt that was verified."""

import dataclasses
import json
from typing import Any

from carnet.core import limits
from carnet.core.credential import judge_chain
from carnet.core.decision import DecisionBody, Permit, parse_body
from carnet.core.document import Json
from carnet.core.facts import parse_facts
from carnet.core.job import LogMode, Manifest, Mode, Recipient, SealedObject
from carnet.core.lease import Grant
from carnet.core.receipt import ExitClass, Meter, Receipt, ResultObject, Start
from carnet.core.runner import Isolation, RunnerCard
from carnet.proof import VerifiedReceipt
from tests.fixtures.identity import NOW_NS, RUNNER, SECOND, anchor_of, issue, operator

IMAGE = "registry.example/train@sha256:" + "a" * 64
ORIGIN = "gateway.example/log"


def reason(rule: str, *places: str, fix: str = "", **parameters: Json) -> dict[str, Json]:
    return {
        "rule": rule,
        "effect": "deny",
        "jurisdictions": list(places),
        "citations": [f"C-{rule}"],
        "message": f"message.of.{rule.lower()}",
        "parameters": {"fix_ids": ["some.fix"], **parameters},
        "fix": [fix] if fix else [],
    }


def body_of(**changes: Any) -> DecisionBody:
    """A decision that permits FR and DE under one duty; `changes` replace its fields."""
    document: dict[str, Json] = {
        "schema": "carnet.decision/v1",
        "verdict": "permit",
        "permitted": ["DE", "FR"],
        "blocked": {"EU-GDPR-CHV": ["CN", "US"], "US-OFAC-EMB": ["CN"]},
        "obligations": [
            {
                "type": "recipients_max",
                "value": 2,
                "rule": "EU-GDPR-ART32",
                "citations": ["C-GDPR-32"],
                "enforcer": "client",
            }
        ],
        "reasons": [],
        "rules_evaluated": ["EU-GDPR-CHV", "ORG-ONLY", "US-OFAC-EMB"],
        "exemptions_used": [],
        "unverified_rows_used": [],
        "valid_until_ns": NOW_NS + 3600 * SECOND,
        "revisions": {"rules": "sha256:" + "1" * 64, "data": "sha256:" + "2" * 64},
        "disclaimer": "NLA-1",
    }
    return parse_body(json.dumps(document | changes).encode())


def denial(**changes: Any) -> DecisionBody:
    """The US alone were asked for, and the data may not go there."""
    reasons = [
        reason("EU-GDPR-CHV", "US", fix="Declare standard clauses.", permitted_without_basis=["DE", "FR"]),
        reason("ORG-ONLY", "DE", "FR", fix="Widen constraints.only.", only=["US"]),
    ]
    fields: dict[str, Any] = {
        "verdict": "deny",
        "permitted": [],
        "blocked": {"EU-GDPR-CHV": ["CN", "US"], "ORG-ONLY": ["CN", "DE", "FR"]},
        "reasons": reasons,
    }
    return body_of(**(fields | changes))


def facts_document() -> dict[str, Any]:
    """Facts that the receipt below is of."""
    return {
        "schema": "carnet.facts/v1",
        "purpose": "training",
        "controller": {"entity": "hospital.example", "country": "DE", "sectors": ["health"], "public_body": False},
        "data": {
            "classes": ["health"],
            "subject_jurisdictions": ["DE"],
            "origin_jurisdiction": "DE",
            "records": 569,
            "pseudonymised": True,
        },
        "transfer": {"mechanisms": [], "importers": []},
        "technology": {"controlled": "no", "itar": "no", "eccns": [], "eu_codes": [], "licences": []},
        "end_user": {"entity": "Klinikum Musterstadt", "country": "DE", "parent_country": "DE", "use": "civil"},
        "constraints": {"only": [], "never": [], "parent_never": [], "isolation_min": "container"},
        "image": IMAGE,
        "resources": {"cpu_millis": 1000, "memory_bytes": limits.GIB, "work_bytes": limits.GIB, "gpus": 0},
        "caps": {"seconds": 600, "price_micro_usd": 1, "attempts": 1},
    }


def proven(**changes: Any) -> VerifiedReceipt:
    """What a verified receipt says; `changes` replace fields of the runner's own statement."""
    facts = parse_facts(json.dumps(facts_document()).encode())
    authority = operator()
    leaf, _ = issue(authority)
    runner = judge_chain((leaf,), (anchor_of(authority, "FR"),), now_ns=NOW_NS)
    manifest = Manifest(
        payload=b"manifest",
        version=1,
        suite=1,
        job_id=b"j" * 16,
        tenant_id=b"t" * 16,
        nonce=b"n" * 16,
        created_ns=NOW_NS,
        not_after_ns=NOW_NS + 3600 * SECOND,
        facts_digest=facts.digest,
        decision_digest=b"d" * 32,
        image=IMAGE,
        mode=Mode.FRAMED,
        command=(),
        resources=facts.resources,
        seconds_max=600,
        isolation_min=Isolation.CONTAINER,
        template_digest=b"p" * 32,
        allowed_jurisdictions=("DE", "FR"),
        recipients=(
            Recipient(spiffe_id=str(RUNNER), jurisdiction="FR", kid=b"k" * 32, key_statement_digest=b"s" * 32),
        ),
        objects=(SealedObject(id=0, size=1, segment_digests=(b"d" * 32,)),),
        root_commit=b"c" * 32,
        result_public=b"r" * limits.hybrid_public_bytes,
        attempts_max=1,
        log_mode=LogMode.SEALED,
    )
    body = body_of()
    permit = Permit(
        payload=b"permit",
        manifest_digest=manifest.digest,
        facts_digest=facts.digest,
        spiffe_id=str(RUNNER),
        card_digest=b"c" * 32,
        jurisdiction="FR",
        obligations=(),
        prepare_decision_digest=manifest.decision_digest,
        record_digest=b"R" * 32,
        body_digest=body.digest,
        valid_until_ns=NOW_NS + SECOND,
    )
    grant = Grant(
        payload=b"grant",
        manifest_digest=manifest.digest,
        attempt=1,
        spiffe_id=str(RUNNER),
        kid=b"k" * 32,
        permit_digest=permit.digest,
        checkpoint=b"checkpoint",
        issued_ns=NOW_NS,
    )
    start = Start(
        payload=b"start",
        manifest_digest=manifest.digest,
        grant_digest=grant.digest,
        spiffe_id=str(RUNNER),
        result_wrap=b"w" * limits.wrap_bytes,
        started_ns=NOW_NS + SECOND,
    )
    receipt = Receipt(
        payload=b"receipt",
        job_id=manifest.job_id,
        manifest_digest=manifest.digest,
        grant_digest=grant.digest,
        permit_digest=permit.digest,
        start_digest=start.digest,
        decision_digest=manifest.decision_digest,
        record_digest=permit.record_digest,
        spiffe_id=str(RUNNER),
        jurisdiction="FR",
        isolation=Isolation.CONTAINER,
        template_digest=manifest.template_digest,
        profile_digest=b"o" * 32,
        image=IMAGE,
        attempt=1,
        started_ns=NOW_NS + SECOND,
        ended_ns=NOW_NS + 3 * SECOND,
        exit_class=ExitClass.SUCCEEDED,
        exit_code=0,
        results=tuple(ResultObject(id=i, size=1, segment_digests=(b"0" * 32,)) for i in range(3)),
        log_records=1,
        evidence_digest=b"e" * 32,
        meter=Meter(
            wall_ms=2015,
            cpu_ms=900,
            cpu_method="cgroup",
            memory_peak_bytes=2**20,
            memory_method="cgroup",
            gpu_ms=0,
            energy_mj=0,
            energy_method="none",
            price_micro_usd=1_000_250,
        ),
    )
    card = RunnerCard(
        payload=b"card",
        spiffe_id=str(RUNNER),
        issued_ns=NOW_NS,
        expires_ns=NOW_NS + SECOND,
        agent_version="1",
        slots=1,
        cpu_millis=1000,
        memory_bytes=limits.GIB,
        work_bytes=limits.GIB,
        devices=(),
        isolation=Isolation.CONTAINER,
        isolation_facts=(),
        template_digest=manifest.template_digest,
        images=(),
        price_micro_usd_second=1,
    )
    return VerifiedReceipt(
        facts=facts,
        manifest=manifest,
        addenda=(),
        prepared=body,
        dispatched=body,
        permit=permit,
        grant=grant,
        start=start,
        receipt=dataclasses.replace(receipt, **changes),
        runner=runner,
        card=card,
        outcome_index=41,
        outcome_ns=NOW_NS + 4 * SECOND,
    )
