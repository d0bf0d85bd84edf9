"""Wraps at rest: they open for their job, key and day only, and not at all once the day's key is gone."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from carnet.core.errors import StoreUnavailable
from gateway.storage.records import JobKey
from gateway.storage.wraps import WrapGone, WrapKeys, day_of

KEY = JobKey(tenant_id=b"\1" * 16, job_id=b"\2" * 16)
KID = b"\3" * 32
DAY = date(2026, 11, 22)
WRAP = bytes(range(256)) * 4


@pytest.fixture
def keys(tmp_path: Path) -> WrapKeys:
    return WrapKeys(tmp_path / "keys")


def test_a_wrap_opens_for_its_job(keys: WrapKeys, tmp_path: Path) -> None:
    sealed = keys.seal(KEY, WRAP, kid=KID, day=DAY)
    assert WRAP not in sealed.data
    assert (sealed.kid, sealed.day) == (KID, DAY)
    assert keys.open(KEY, sealed) == WRAP
    assert WrapKeys(tmp_path / "keys").open(KEY, sealed) == WRAP
    assert keys.seal(KEY, WRAP, kid=KID, day=DAY).data != sealed.data


def test_a_wrap_opens_for_nothing_else(keys: WrapKeys) -> None:
    sealed = keys.seal(KEY, WRAP, kid=KID, day=DAY)
    keys.seal(KEY, WRAP, kid=KID, day=DAY + timedelta(days=1))
    others = [
        (replace(KEY, tenant_id=bytes(16)), sealed),
        (replace(KEY, job_id=bytes(16)), sealed),
        (KEY, replace(sealed, kid=bytes(32))),
        (KEY, replace(sealed, day=DAY + timedelta(days=1))),
        (KEY, replace(sealed, data=sealed.data[:-1] + bytes([sealed.data[-1] ^ 1]))),
        (KEY, replace(sealed, data=b"")),
    ]
    for key, other in others:
        with pytest.raises(WrapGone):
            keys.open(key, other)


def test_a_destroyed_day_takes_its_wraps_with_it_and_no_others(keys: WrapKeys, tmp_path: Path) -> None:
    sealed = keys.seal(KEY, WRAP, kid=KID, day=DAY)
    later = keys.seal(KEY, WRAP, kid=KID, day=DAY + timedelta(days=1))
    keys.destroy_day(DAY)
    keys.destroy_day(DAY)
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["wraps-2026-11-23.key"]
    with pytest.raises(WrapGone):
        keys.open(KEY, sealed)
    assert keys.open(KEY, later) == WRAP
    keys.seal(KEY, WRAP, kid=KID, day=DAY)
    with pytest.raises(WrapGone):
        keys.open(KEY, sealed)


def test_a_sweep_leaves_today_yesterday_and_what_is_needed(keys: WrapKeys) -> None:
    days = [DAY - timedelta(days=i) for i in range(5)]
    for day in days:
        keys.seal(KEY, WRAP, kid=KID, day=day)
    assert keys.sweep(needed={days[3]}, today=DAY) == (days[4], days[2])
    assert keys.sweep(needed=(), today=DAY + timedelta(days=2)) == (days[3], days[1], days[0])


def test_a_wrap_that_is_sealed_before_midnight_and_stored_after_it_keeps_its_key(keys: WrapKeys) -> None:
    sealed = keys.seal(KEY, WRAP, kid=KID, day=DAY)
    assert keys.sweep(needed=(), today=DAY + timedelta(days=1)) == ()
    assert keys.open(KEY, sealed) == WRAP


def test_key_files_are_for_their_owner_only(keys: WrapKeys, tmp_path: Path) -> None:
    sealed = keys.seal(KEY, WRAP, kid=KID, day=DAY)
    (path,) = (tmp_path / "keys").iterdir()
    assert (path.stat().st_mode & 0o777, path.stat().st_size) == (0o600, 32)
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    path.chmod(0o644)
    with pytest.raises(StoreUnavailable):
        keys.open(KEY, sealed)
    path.chmod(0o600)
    path.write_bytes(bytes(31))
    with pytest.raises(StoreUnavailable):
        keys.seal(KEY, WRAP, kid=KID, day=DAY)


def test_threads_that_begin_a_day_together_make_one_key(keys: WrapKeys) -> None:
    with ThreadPoolExecutor(8) as threads:
        sealed = list(threads.map(lambda _: keys.seal(KEY, WRAP, kid=KID, day=DAY), range(32)))
    assert all(keys.open(KEY, one) == WRAP for one in sealed)


def test_a_day_is_one_of_utc() -> None:
    midnight = 1_795_305_600 * 10**9
    assert (day_of(midnight - 1), day_of(midnight)) == (date(2026, 11, 21), date(2026, 11, 22))
