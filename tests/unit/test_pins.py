"""Pins: the keys that only some need are good keys in their one form, or the file is refused."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from carnet.core.errors import FieldInvalid
from carnet.core.hybrid import HybridPrivateKey
from carnet.pins import Pins, parse_pins
from tests.fixtures.parties import Parties


def pinned(parties: Parties, change: Callable[[dict[str, Any]], object]) -> Pins:
    document = json.loads(parties.pins_path.read_bytes())
    change(document)
    return parse_pins(json.dumps(document).encode())


def test_a_tenant_pins_one_compliance_key_or_none(parties: Parties) -> None:
    key = HybridPrivateKey.from_seed((parties.pki / "tenant/compliance.key").read_bytes())
    assert pinned(parties, lambda _: None).tenants[0].compliance_key == key.public
    assert pinned(parties, lambda d: d["tenants"][0].pop("compliance_key")).tenants[0].compliance_key == b""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AAAA",
        "no base64 at all",
        base64.b64encode(bytes(1215)).decode(),
        base64.b64encode(b"\xff" * 1216).decode(),
        base64.b64encode(bytes(1217)).decode(),
        1,
        None,
    ],
)
def test_a_compliance_key_that_is_none_is_refused(parties: Parties, text: object) -> None:
    with pytest.raises(FieldInvalid, match="compliance_key"):
        pinned(parties, lambda d: d["tenants"][0].update(compliance_key=text))


def test_a_gateway_may_have_policy_keys(parties: Parties) -> None:
    found = pinned(parties, lambda _: None).gateway
    assert len(found.policy_keys) == 1
    assert pinned(parties, lambda d: d["gateway"].pop("policy_keys")).gateway.policy_keys == ()
    assert pinned(parties, lambda d: d["gateway"].update(policy_keys=[])).gateway.policy_keys == ()


@pytest.mark.parametrize("text", ["AAAA", "!", 7, "MIIB"])
def test_a_policy_key_that_is_none_is_refused(parties: Parties, text: object) -> None:
    with pytest.raises(FieldInvalid):
        pinned(parties, lambda d: d["gateway"].update(policy_keys=[text]))
