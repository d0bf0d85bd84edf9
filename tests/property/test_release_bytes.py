"""Releases: any bytes are a release that a trusted key signed, or they are refused; nothing else is ever raised."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from carnet.core.document import canonical
from carnet.core.errors import FieldInvalid
from policy import archive, release, signing
from policy.signing import SIGNATURES, BundleUnsigned
from tests.fixtures.releases import KEY, KEYS, packed, tampered
from tests.opa_support import NOW

GOOD = packed()
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def refused_or_equal(data: bytes) -> None:
    try:
        assert release.read(data, KEYS).keyid == KEY.keyid
    except (BundleUnsigned, FieldInvalid):
        return
    assert archive.unpacked(data) == archive.unpacked(GOOD)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    refused_or_equal(data)


@given(st.sampled_from([".manifest", "data.json", SIGNATURES, "schema/input.json"]), JSON)
@settings(max_examples=60)
def test_any_document_in_the_place_of_one_that_was_signed(name: str, document: Any) -> None:
    refused_or_equal(tampered(lambda files: files.update({name: json.dumps(document).encode()})))


@given(JSON)
@settings(max_examples=60)
def test_any_claims_under_a_trusted_key(claims: Any) -> None:
    token = KEY.token(json.dumps(claims).encode())
    refused_or_equal(tampered(lambda files: files.update({SIGNATURES: json.dumps({"signatures": [token]}).encode()})))


@given(st.dictionaries(TEXT, JSON, max_size=5))
def test_white_space_and_order_do_not_change_a_structured_digest(document: Any) -> None:
    loose = json.dumps(dict(reversed(document.items())), indent=3).encode()
    assert signing.digest("data.json", loose) == signing.digest("data.json", canonical(document))
    assert signing.digest("a.json", loose) != signing.digest("a.json", loose + b" ")


def test_the_time_of_signing_is_in_the_claims() -> None:
    files = {"data.json": b"{}"}
    assert signing.sign(files, KEY, issued_ns=NOW) != signing.sign(files, KEY, issued_ns=NOW + 10**9)
