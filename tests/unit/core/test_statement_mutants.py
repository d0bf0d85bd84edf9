"""Statements at their very bounds, and which keys are equal."""

from types import SimpleNamespace

import pytest

from carnet.core import limits
from carnet.core.errors import EnvelopeMalformed
from carnet.core.statement import Signed, Signer


def signed(*, payload: int = 1, signature: int = 70, keyid: int = 32) -> Signed:
    return Signed(payload=bytes(payload), signature=bytes(signature), keyid=bytes(keyid))


@pytest.mark.parametrize("size", [8, 72])
def test_a_signature_has_8_to_72_bytes(size: int) -> None:
    assert signed(signature=size).signature == bytes(size)


@pytest.mark.parametrize("size", [0, 7, 73])
def test_a_signature_of_another_size_is_none(size: int) -> None:
    with pytest.raises(EnvelopeMalformed):
        signed(signature=size)


def test_a_statement_has_at_least_a_byte_and_at_most_256_kib() -> None:
    assert len(signed(payload=limits.manifest_bytes_max).payload) == 256 * 1024
    for size in (0, limits.manifest_bytes_max + 1):
        with pytest.raises(EnvelopeMalformed):
            signed(payload=size)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_id_of_another_size_is_none(size: int) -> None:
    with pytest.raises(EnvelopeMalformed):
        signed(keyid=size)


def test_two_keys_are_equal_by_their_bytes_and_nothing_else_equals_a_key() -> None:
    signer, other = Signer.generate(), Signer.generate()
    assert signer.verifying_key() == signer.verifying_key()
    assert signer.verifying_key() != other.verifying_key()
    assert signer.verifying_key() != SimpleNamespace(public_der=signer.public_der)
