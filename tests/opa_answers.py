"""Answers as an OPA that runs our bundle gives them, for tests that need one without OPA."""

from typing import Any

from policy.bundle import Bundle
from tests.opa_support import NOW, runner_of

BUNDLE = Bundle.load()
REVISIONS = {"rules": BUNDLE.revisions.rules, "data": BUNDLE.revisions.data}
RUNNERS = (runner_of("DE"), runner_of("FR"))
DUTY = {
    "type": "network_none",
    "value": 1,
    "rule": "CARNET-NETWORK",
    "citations": ["C-CARNET-BASE"],
    "enforcer": "runner",
}
REASON: dict[str, Any] = {
    "rule": "ORG-NEVER",
    "effect": "deny",
    "jurisdictions": ["FR"],
    "citations": ["C-ORG-FACTS"],
    "message": "constraints.never",
    "parameters": {"never": ["FR"], "fix_ids": []},
    "fix": [],
}
BODY: dict[str, Any] = {
    "schema": "carnet.decision/v1",
    "verdict": "permit",
    "permitted": ["DE"],
    "blocked": {"ORG-NEVER": ["FR"]},
    "obligations": [DUTY],
    "reasons": [REASON],
    "rules_evaluated": list(BUNDLE.rules_in_force(stage="job", now_ns=NOW)),
    "exemptions_used": [],
    "unverified_rows_used": ["embargoes/CU"],
    "valid_until_ns": NOW + 1,
    "revisions": REVISIONS,
    "disclaimer": "NLA-1",
}
VERDICTS: dict[str, Any] = {
    "schema": "carnet.verdicts/v1",
    "verdicts": [
        {"spiffe_id": RUNNERS[0].spiffe_id, "verdict": "permit", "obligations": BODY["obligations"], "reasons": [],
         "unverified_rows_used": ["memberships/EAR_D5/CN"], "valid_until_ns": NOW + 1},
        {"spiffe_id": RUNNERS[1].spiffe_id, "verdict": "deny", "obligations": [], "reasons": [REASON],
         "unverified_rows_used": [], "valid_until_ns": NOW + 1},
    ],
    "rules_evaluated": list(BUNDLE.rules_in_force(stage="runner", now_ns=NOW)),
    "revisions": REVISIONS,
}  # fmt: skip
PROVENANCE: dict[str, Any] = {"version": "1.22.2", "bundles": {"bundle": {"revision": BUNDLE.revision}}}
