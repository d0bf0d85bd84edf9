"""A document sealed for a hybrid key: opened by it alone, for what it was bound to, and as it was."""

import pytest

from carnet.core import limits
from carnet.core.encoding import ctx
from carnet.core.errors import EnvelopeMalformed, EnvelopeUnopened
from carnet.core.hybrid import HybridPrivateKey, HybridPublicKey

KEY = HybridPrivateKey.from_seed(bytes(range(32)))
INFO = ctx("decision input", bytes(16), bytes(32))


def sealed(document: bytes) -> bytes:
    return HybridPublicKey(KEY.public).seal(document, info=INFO)


@pytest.mark.parametrize("size", [0, 1, 32, 5000, limits.input_bytes_max])
def test_a_document_opens_as_it_was(size: int) -> None:
    document = bytes(size)
    assert KEY.open(sealed(document), info=INFO) == document
    assert len(sealed(document)) == size + limits.sealed_bytes_min


def test_what_is_sealed_twice_is_never_the_same() -> None:
    assert sealed(b"x") != sealed(b"x")


def test_a_document_beyond_its_bound_is_not_sealed() -> None:
    with pytest.raises(EnvelopeMalformed):
        sealed(bytes(limits.input_bytes_max + 1))


def test_another_key_or_another_binding_opens_nothing() -> None:
    data = sealed(b"document")
    with pytest.raises(EnvelopeUnopened):
        HybridPrivateKey.from_seed(bytes(32)).open(data, info=INFO)
    for other in (ctx("decision input", bytes(16), b"\1" * 32), ctx("self", bytes(32)), b""):
        with pytest.raises(EnvelopeUnopened):
            KEY.open(data, info=other)


def test_what_is_cut_longer_or_changed_opens_nothing() -> None:
    data = sealed(b"document")
    flipped = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in (0, 1119, 1120, len(data) - 1)]
    cut = [b"", data[:-1], data[1:], data + b"\0", data[: limits.sealed_bytes_min - 1], data[: limits.sealed_bytes_min]]
    for other in (*flipped, *cut, bytes(limits.input_bytes_max + limits.sealed_bytes_min + 1)):
        with pytest.raises(EnvelopeUnopened):
            KEY.open(other, info=INFO)


def test_a_wrap_is_no_sealed_document_and_the_other_way_round() -> None:
    public = HybridPublicKey(KEY.public)
    wrap = public.wrap(bytes(32), info=ctx("self", bytes(32)))
    with pytest.raises(EnvelopeUnopened):
        KEY.open(wrap, info=INFO)
    with pytest.raises(EnvelopeUnopened):
        KEY.unwrap(sealed(bytes(32)), info=ctx("self", bytes(32)))
