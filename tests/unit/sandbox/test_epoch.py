"""Epoch keys: how long they are sealed to, opened with, and that they are wiped."""

import pytest

from carnet import statements
from carnet.core import limits
from carnet.core.errors import RecipientKeyExpired
from carnet.core.statement import Signer
from sandbox.epoch import SECOND, EpochKeys

START = 1_800_000_000 * SECOND
DAY = 24 * 3600 * SECOND


class Clock:
    def __init__(self) -> None:
        self.now_ns = START

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def keys_of(clock: Clock, leaf: Signer | None = None, *, leaf_seconds: int = 24 * 3600) -> EpochKeys:
    until = START + leaf_seconds * SECOND
    return EpochKeys(leaf or Signer.generate(), spiffe_id="spiffe://a.example/b", leaf_until_ns=until, clock=clock)


def test_a_key_s_statement_is_signed_by_the_leaf_and_names_it(clock: Clock) -> None:
    leaf = Signer.generate()
    statement = statements.KEY_STATEMENT.open(keys_of(clock, leaf).current, leaf.verifying_key())
    assert statement.leaf_key_digest == leaf.keyid
    assert statement.seal_until_ns == START + limits.seal_seconds_max * SECOND
    assert statement.open_until_ns == START + limits.open_seconds_max * SECOND


def test_a_key_is_not_sealed_to_after_the_leaf_s_end(clock: Clock) -> None:
    leaf = Signer.generate()
    keys = keys_of(clock, leaf, leaf_seconds=60)
    statement = statements.KEY_STATEMENT.open(keys.current, leaf.verifying_key())
    assert statement.seal_until_ns == START + 60 * SECOND


def test_the_next_key_comes_at_half_time_and_the_old_one_still_opens(clock: Clock) -> None:
    keys = keys_of(clock)
    first = statements.KEY_STATEMENT.parse(keys.current.payload)
    clock.now_ns += limits.seal_seconds_max // 2 * SECOND - 1
    assert not keys.turn()
    clock.now_ns += 1
    assert keys.turn()
    second = statements.KEY_STATEMENT.parse(keys.current.payload)
    assert second.kid != first.kid
    assert [statements.KEY_STATEMENT.parse(s.payload).kid for s in keys.older] == [first.kid]
    assert keys.private(first.kid).public == first.public
    assert keys.private(second.kid).public == second.public
    assert not keys.turn()


def test_an_old_key_is_wiped_at_its_end_and_opens_nothing(clock: Clock) -> None:
    keys = keys_of(clock)
    first = statements.KEY_STATEMENT.parse(keys.current.payload)
    seed = keys._epochs[0].seed
    clock.now_ns = first.open_until_ns
    with pytest.raises(RecipientKeyExpired):
        keys.private(first.kid)
    keys.turn()
    assert bytes(seed) == bytes(32)
    assert keys.older == ()


def test_a_runner_whose_certificate_has_ended_makes_no_key_and_goes_on_opening(clock: Clock) -> None:
    keys = keys_of(clock)
    first = statements.KEY_STATEMENT.parse(keys.current.payload)
    clock.now_ns += DAY + 1
    assert not keys.turn()
    assert keys.private(first.kid).public == first.public


def test_a_restarted_runner_opens_no_old_wrap(clock: Clock) -> None:
    leaf = Signer.generate()
    before = statements.KEY_STATEMENT.parse(keys_of(clock, leaf).current.payload)
    with pytest.raises(RecipientKeyExpired):
        keys_of(clock, leaf).private(before.kid)
