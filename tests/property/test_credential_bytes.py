"""Whatever the bytes or the text: a value, or the one error."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carnet.core.certificate import verify_chain
from carnet.core.credential import LeafKind, RunnerId, SpiffeId, read_leaf
from carnet.core.errors import CredentialInvalid, FieldInvalid
from carnet.pins import parse_pins
from carnet.tls import chain_from_pem
from tests.fixtures.identity import NOW_NS, RUNNER, issue, operator

OPERATOR = operator()
LEAF, _ = issue(OPERATOR)


@given(st.text() | st.from_regex(r"spiffe://[a-zA-Z0-9._%/-]*", fullmatch=True))
@example(str(RUNNER))
def test_any_text_is_an_id_that_prints_as_that_text_or_is_refused(text: str) -> None:
    with contextlib.suppress(CredentialInvalid):
        assert str(SpiffeId.parse(text)) == text
        assert str(RunnerId.parse(text)) == text


@given(st.binary(max_size=400))
def test_any_bytes_are_a_leaf_or_refused(data: bytes) -> None:
    with contextlib.suppress(CredentialInvalid):
        read_leaf(data, LeafKind.RUNNER)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:Parsed a serial number", "ignore:Attribute's length must be")
def test_every_leaf_with_one_byte_changed_is_refused_with_the_one_error() -> None:
    for position in range(len(LEAF)):
        for mask in range(1, 256):
            refused_with_one_byte_changed(position, mask)


@pytest.mark.filterwarnings("ignore:Parsed a serial number", "ignore:Attribute's length must be")
@given(st.integers(0, len(LEAF) - 1), st.integers(1, 255))
def test_a_leaf_with_one_byte_changed_never_passes_its_chain(position: int, mask: int) -> None:
    refused_with_one_byte_changed(position, mask)


def refused_with_one_byte_changed(position: int, mask: int) -> None:
    changed = bytearray(LEAF)
    changed[position] ^= mask
    try:
        read_leaf(bytes(changed), LeafKind.RUNNER)
        verify_chain((bytes(changed),), (OPERATOR.certificate_der,), now_ns=NOW_NS)
    except CredentialInvalid:
        return
    raise AssertionError("a changed certificate was taken")


@given(st.binary(max_size=400))
def test_any_bytes_are_pins_or_refused(data: bytes) -> None:
    with contextlib.suppress(FieldInvalid):
        parse_pins(data)


@given(st.binary(max_size=400))
def test_any_bytes_are_certificates_or_refused(data: bytes) -> None:
    with contextlib.suppress(CredentialInvalid):
        chain_from_pem(data)
        chain_from_pem(b"-----BEGIN CERTIFICATE-----\n" + data + b"\n-----END CERTIFICATE-----\n")
