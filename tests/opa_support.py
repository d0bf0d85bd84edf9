"""What the policy tests ask about, and where they find OPA.

OPA is `CARNET_OPA`, else `opa` on the path. In CI its absence is a failure; elsewhere the test is skipped, and says so.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from carnet.core.facts import parse_facts
from carnet.core.runner import Evidence, Isolation, RunnerFacts
from policy.bundle import home
from policy.engine import GatewayFacts, JobQuery, Screening

# 2026-11-22T00:00:00Z
NOW = 1_795_305_600 * 10**9
GB_ENDS = 1_956_096_000 * 10**9
DAY = 86_400 * 10**9
OPERATOR = "operator.example"


def opa_binary() -> Path:
    found = os.environ.get("CARNET_OPA") or shutil.which("opa")
    if found:
        return Path(found).absolute()
    if os.environ.get("CI") == "true":
        pytest.fail("CI has no OPA: CARNET_OPA is not set and `opa` is not on the path")
    pytest.skip("no OPA: set CARNET_OPA or put `opa` on the path")


def hospital(**changes: Any) -> dict[str, Any]:
    """The German hospital's facts; `data={...}` and the like replace single fields of a part."""
    document: dict[str, Any] = json.loads((home / "examples" / "german-hospital.json").read_bytes())
    for name, value in changes.items():
        document[name] = document[name] | value if isinstance(value, dict) else value
    return document


def query_of(
    document: dict[str, Any] | None = None, *, now_ns: int = NOW, screening: Screening = Screening.CLEAR
) -> JobQuery:
    requester = GatewayFacts(issuer="issuer", subject="subject", tenant="tenant", roles=(), screening=screening)
    return JobQuery(facts=parse_facts(json.dumps(document or hospital()).encode()), gateway=requester, now_ns=now_ns)


def runner_of(jurisdiction: str, **changes: Any) -> RunnerFacts:
    fields: dict[str, Any] = {
        "spiffe_id": f"spiffe://{OPERATOR}/jurisdiction/{jurisdiction}/runner/one",
        "jurisdiction": jurisdiction,
        "operator": OPERATOR,
        "operator_country": "DE",
        "parent_country": "DE",
        "evidence": Evidence.OPERATOR,
        "isolation": Isolation.CONTAINER,
        "gpus": 0,
        "card_digest": bytes(range(32)),
    }
    return RunnerFacts(**fields | changes)


def clauses(countries: list[str], importer: str = OPERATOR, **changes: Any) -> dict[str, Any]:
    return {
        "type": "SCC",
        "importer": importer,
        "countries": countries,
        "assessment_completed": True,
        "expires_ns": NOW + DAY,
    } | changes
