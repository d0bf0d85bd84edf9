"""Whatever the text or the bytes: a token or a key set, or the one error."""

import asyncio
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.core.errors import FieldInvalid, PeerError, TokenInvalid
from certs import issuer
from gateway.jwks import Algorithm, decode, parse_jwks
from gateway.tokens import read_jws
from tests.fixtures.tokens import CERTIFICATE, Clock, Issuer

GOOD = Issuer()
TOKEN = GOOD.token()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*", fullmatch=True))
def test_any_text_is_a_jws_or_refused(text: str) -> None:
    with contextlib.suppress(FieldInvalid, TokenInvalid):
        read_jws(text)


@given(st.text(max_size=64))
def test_what_is_base64url_is_so_in_one_form(text: str) -> None:
    with contextlib.suppress(FieldInvalid):
        assert issuer.encode(decode(text)) == text


@given(st.sampled_from(sorted(GOOD.header())), JSON)
def test_any_value_in_the_header_is_taken_as_it_was_or_refused(name: str, value: object) -> None:
    judge(GOOD.token(header={**GOOD.header(), name: value}), good=GOOD.header()[name] == value)


@given(st.sampled_from(["iss", "aud", "exp", "iat", "cnf", "client_id"]), JSON)
def test_any_value_in_a_claim_that_decides_is_taken_as_it_was_or_refused(name: str, value: object) -> None:
    judge(GOOD.token(claims={**GOOD.claims(), name: value}), good=GOOD.claims()[name] == value)


@given(st.integers(0, len(TOKEN) - 1), st.sampled_from("AZaz09-_.=+ "))
def test_a_token_with_one_letter_changed_is_refused(position: int, letter: str) -> None:
    changed = TOKEN[:position] + letter + TOKEN[position + 1 :]
    judge(changed, good=changed == TOKEN)


@given(st.binary(max_size=200), st.sampled_from(list(Algorithm)))
def test_any_bytes_are_a_key_set_or_refused(data: bytes, algorithm: Algorithm) -> None:
    with contextlib.suppress(FieldInvalid):
        parse_jwks(data, algorithm)


@given(st.sampled_from(["kid", "kty", "crv", "x", "y", "use", "alg", "key_ops", "n", "e"]), JSON)
def test_any_field_of_a_key_is_a_key_set_or_refused(name: str, value: object) -> None:
    entry = {**json.loads(GOOD.jwks)["keys"][0], name: value}
    for algorithm in Algorithm:
        with contextlib.suppress(FieldInvalid):
            parse_jwks(json.dumps({"keys": [entry]}).encode(), algorithm)


def judge(token: str, *, good: bool) -> None:
    refusal = contextlib.nullcontext() if good else pytest.raises(PeerError)
    with refusal:
        asyncio.run(GOOD.judge(Clock()).judge(token, CERTIFICATE))
