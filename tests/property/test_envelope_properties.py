"""Any data comes back as it was sealed; any ciphertext opens to that data, or raises `EnvelopeUnopened`."""

import hashlib
from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from carnet.core.envelope import (
    HybridPrivateKey,
    HybridPublicKey,
    SegmentOpener,
    SegmentSealer,
    ciphertext_size,
    open_log,
    seal_log,
    unwrap_root,
    wrap_root,
)
from carnet.core.errors import EnvelopeMalformed, EnvelopeUnopened

ROOT = hashlib.sha256(b"root").digest()
MD = hashlib.sha256(b"manifest").digest()
PRIVATE = HybridPrivateKey.from_seed(ROOT)
PUBLIC = HybridPublicKey(PRIVATE.public)
WRAP = wrap_root(PUBLIC, ROOT, manifest_digest=MD, spiffe_id="spiffe://a/b", jurisdiction="FR", kid=PUBLIC.kid)
PLAIN = hashlib.shake_256(b"plain").digest(40_000)
relaxed = settings(deadline=None, max_examples=2 * settings().max_examples)


def sealer() -> SegmentSealer:
    return SegmentSealer(ROOT, job_id=bytes(16), object_id=0, index=0, last=True)


def opener() -> SegmentOpener:
    return SegmentOpener(ROOT, job_id=bytes(16), object_id=0, index=0, last=True)


one = sealer()
CIPHERTEXT = one.update(PLAIN) + one.finish()


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@relaxed
@given(st.integers(0, 40_000), st.lists(st.integers(0, 2**16), max_size=6), st.lists(st.integers(0, 2**16), max_size=6))
def test_data_comes_back_however_it_is_cut(size: int, cuts: list[int], other_cuts: list[int]) -> None:
    seal, opening = sealer(), opener()
    ciphertext = b"".join(map(seal.update, pieces(PLAIN[:size], cuts))) + seal.finish()
    plain = b"".join(map(opening.update, pieces(ciphertext, other_cuts))) + opening.finish()
    assert plain == PLAIN[:size]
    assert len(ciphertext) == ciphertext_size(size)
    assert seal.digest == hashlib.sha256(ciphertext).digest()


def let_go(ciphertext: bytes, cuts: list[int]) -> tuple[bytes, bool]:
    opening, plain = opener(), b""
    try:
        for piece in pieces(ciphertext, cuts):
            plain += opening.update(piece)
        return plain + opening.finish(), True
    except EnvelopeUnopened:
        return plain, False


@relaxed
@given(st.data(), st.lists(st.integers(0, 2**16), max_size=4))
def test_changed_ciphertext_never_reaches_its_end_and_lets_go_of_true_plaintext_only(
    data: st.DataObject, cuts: list[int]
) -> None:
    changed = bytearray(CIPHERTEXT)
    start = data.draw(st.integers(0, len(changed)))
    changed[start : start + data.draw(st.integers(0, 20_000))] = data.draw(st.binary(max_size=64))
    assume(changed != CIPHERTEXT)
    plain, whole = let_go(bytes(changed), cuts)
    assert not whole
    assert PLAIN.startswith(plain)


@relaxed
@given(st.binary(max_size=400))
def test_any_bytes_are_no_segment(data: bytes) -> None:
    assert let_go(data, []) == (b"", False)


@relaxed
@given(st.one_of(st.binary(max_size=64), st.binary(min_size=1168, max_size=1168)), st.booleans(), st.data())
def test_any_bytes_are_no_wrap(data: bytes, near: bool, draw: st.DataObject) -> None:
    if near:
        at = draw.draw(st.integers(0, len(WRAP) - 1))
        data = WRAP[:at] + bytes([WRAP[at] ^ draw.draw(st.integers(1, 255))]) + WRAP[at + 1 :]
    try:
        unwrap_root(PRIVATE, data, manifest_digest=MD, spiffe_id="spiffe://a/b", jurisdiction="FR", kid=PUBLIC.kid)
    except EnvelopeUnopened:
        return
    raise AssertionError("a wrap that nobody made was opened")


@relaxed
@given(
    st.binary(min_size=32, max_size=32),
    st.text(st.characters(codec="utf-8"), max_size=60),
    st.text(st.characters(codec="utf-8"), max_size=6),
    st.text(st.characters(codec="utf-8"), max_size=60),
    st.text(st.characters(codec="utf-8"), max_size=6),
)
def test_a_wrap_opens_under_its_own_names_and_no_others(
    digest: bytes, runner: str, place: str, other_runner: str, other_place: str
) -> None:
    wrap = wrap_root(PUBLIC, ROOT, manifest_digest=digest, spiffe_id=runner, jurisdiction=place, kid=PUBLIC.kid)
    try:
        root: bytes | None = bytes(
            unwrap_root(
                PRIVATE, wrap, manifest_digest=digest, spiffe_id=other_runner, jurisdiction=other_place, kid=PUBLIC.kid
            )
        )
    except EnvelopeUnopened:
        root = None
    assert root == (ROOT if (runner, place) == (other_runner, other_place) else None)


@relaxed
@given(st.binary(max_size=1300))
def test_any_bytes_are_a_public_key_in_its_one_form_or_malformed(data: bytes) -> None:
    candidate = data if len(data) % 2 else (data + PRIVATE.public)[:1216]
    try:
        key = HybridPublicKey(candidate)
    except EnvelopeMalformed:
        return
    assert key.data == candidate


@relaxed
@given(st.binary(max_size=2000), st.sampled_from([1, 2]), st.integers(0, 2**64 - 1))
def test_a_log_record_comes_back(data: bytes, stream: int, sequence: int) -> None:
    record = seal_log(ROOT, data, manifest_digest=MD, grant_digest=MD, stream=stream, sequence=sequence, final=False)
    again = open_log(ROOT, record, manifest_digest=MD, grant_digest=MD, stream=stream, sequence=sequence, final=False)
    assert again == data
