"""Envelopes at their very bounds, and the secrets that must not outlive their use."""

import pytest

from carnet.core import envelope, hybrid, limits
from carnet.core.envelope import HybridPrivateKey, HybridPublicKey, result_key, wrap_root_addendum
from carnet.core.errors import EnvelopeMalformed, EnvelopeUnopened
from carnet.core.root import derive
from carnet.core.segment import Opener, Sealer

KEY = HybridPrivateKey.from_seed(bytes(range(32)))
ROOT = b"r" * 32


def test_a_wrap_of_an_addendum_names_its_own_key() -> None:
    public = HybridPublicKey(KEY.public)
    binding = {"manifest_digest": b"m" * 32, "addendum_digest": b"a" * 32, "spiffe_id": "s", "jurisdiction": "FR"}
    assert wrap_root_addendum(public, ROOT, **binding, kid=public.kid)  # type: ignore[arg-type]
    with pytest.raises(EnvelopeMalformed, match="key id"):
        wrap_root_addendum(public, ROOT, **binding, kid=b"k" * 32)  # type: ignore[arg-type]


def test_the_seed_of_a_result_key_is_wiped_once_the_key_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytearray] = []
    seen: list[bytes] = []

    class Watched(HybridPrivateKey):
        @classmethod
        def from_seed(cls, seed: bytes | bytearray) -> HybridPrivateKey:
            assert isinstance(seed, bytearray)
            kept.append(seed)
            seen.append(bytes(seed))
            return HybridPrivateKey.from_seed(seed)

    monkeypatch.setattr(envelope, "HybridPrivateKey", Watched)
    assert result_key(b"t" * 32, b"j" * 16).public == HybridPrivateKey.from_seed(seen[0]).public
    assert kept == [bytearray(32)]


@pytest.mark.parametrize("size", [1215, 1217])
def test_a_public_key_of_another_size_is_refused_for_its_size(size: int) -> None:
    with pytest.raises(EnvelopeMalformed, match="1216 bytes"):
        HybridPublicKey(KEY.public.ljust(size, b"\0")[:size])


@pytest.mark.parametrize("size", [0, 31, 33])
def test_nothing_is_derived_from_a_root_of_another_size(size: int) -> None:
    with pytest.raises(EnvelopeMalformed, match="32 bytes"):
        derive(bytes(size), b"info")
    assert len(derive(bytes(32), b"info")) == 32


@pytest.mark.parametrize("size", [10, 20_000])
def test_an_opener_hands_out_as_much_as_its_bound_and_not_one_byte_more(size: int) -> None:
    data = b"x" * size
    sealer = Sealer(bytearray(32), b"context", bytes_max=size)
    sealed = sealer.update(data) + sealer.finish()
    opener = Opener(bytearray(32), b"context", bytes_max=size)
    assert opener.update(sealed) + opener.finish() == data
    less = Opener(bytearray(32), b"context", bytes_max=size - 1)
    with pytest.raises(EnvelopeUnopened):
        _ = less.update(sealed) + less.finish()


def test_a_sealer_takes_as_much_as_its_bound_and_not_one_byte_more() -> None:
    sealer = Sealer(bytearray(32), b"context", bytes_max=10)
    sealer.update(b"x" * 10)
    with pytest.raises(EnvelopeMalformed):
        sealer.update(b"x")


def test_attack_a_sealed_document_that_is_larger_than_any_may_be_is_not_opened() -> None:
    public = hybrid.HybridPublicKey(KEY.public)
    largest = bytes(limits.input_bytes_max)
    assert KEY.open(public.seal(largest, info=b"i"), info=b"i") == largest
    # Who has the public key can seal by other means than ours, which would refuse it.
    too_large = hybrid._SUITE.encrypt(largest + b"\0", public._key, info=b"i")
    with pytest.raises(EnvelopeUnopened):
        KEY.open(too_large, info=b"i")
