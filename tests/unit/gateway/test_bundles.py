"""Bundles that were live stay, durable and under their revision; a bundle is signed and kept before it is offered."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from carnet.core.errors import NotFound, StoreUnavailable
from gateway.bundleserver import BundleServer
from gateway.publishing import Publishing, bundle_of, own_days
from gateway.storage.bundles import BundleStore
from policy import release
from tests.fixtures.releases import BUNDLE, DAY, KEY, KEYS, packed, variant
from tests.opa_support import NOW

REVISION = "sha256:" + "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "state" / "bundles")


async def test_what_is_kept_is_read_again_also_after_a_restart(store: BundleStore, tmp_path: Path) -> None:
    await store.keep(b"one", revision=REVISION)
    assert await store.read(REVISION) == b"one"
    await store.keep(b"signed anew", revision=REVISION)
    assert await BundleStore(tmp_path / "state" / "bundles").read(REVISION) == b"signed anew"
    folder = tmp_path / "state" / "bundles"
    assert [path.name for path in folder.iterdir()] == ["ab" * 32 + ".tar.gz"]
    assert folder.stat().st_mode & 0o077 == 0
    assert next(folder.iterdir()).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("revision", ["", "sha256:", "../../etc/passwd", REVISION + "/..", REVISION.upper(), "ab" * 32])
async def test_a_name_that_is_no_revision_reaches_no_file(store: BundleStore, revision: str) -> None:
    with pytest.raises(NotFound):
        await store.read(revision)
    with pytest.raises(NotFound):
        await store.keep(b"", revision=revision)


async def test_a_revision_that_was_never_live_is_not_found(store: BundleStore) -> None:
    with pytest.raises(NotFound):
        await store.read(REVISION)


async def test_a_bundle_that_could_not_be_synced_is_not_kept(
    store: BundleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailable, match="store"):
        await store.keep(b"one", revision=REVISION)
    assert list((tmp_path / "state" / "bundles").iterdir()) == []


async def test_a_bundle_is_signed_kept_and_offered_under_a_rising_sequence(store: BundleStore) -> None:
    server = BundleServer()
    publishing = Publishing(store, KEY, server, clock=lambda: NOW)
    for _ in range(2):
        await publishing.publish(BUNDLE)
    found = release.read(await store.read(BUNDLE.revision), KEYS)
    assert found.bundle.revision == BUNDLE.revision
    assert found.stamp == release.Stamp(sequence=NOW // 10**9 + 1, issued_ns=NOW, expires_ns=NOW + own_days * DAY)
    await publishing.publish(variant())
    assert release.read(await store.read(variant().revision), KEYS).stamp.sequence == NOW // 10**9 + 2
    assert await store.read(BUNDLE.revision), "the one before stays"


async def test_a_bundle_with_an_end_keeps_it_when_it_is_signed_anew_also_past_it(store: BundleStore) -> None:
    for now_ns in (NOW, NOW + 2 * DAY):
        publishing = Publishing(store, KEY, BundleServer(), clock=lambda now_ns=now_ns: now_ns)
        await publishing.publish(replace(BUNDLE, expires_ns=NOW + DAY))
        assert release.read(await store.read(BUNDLE.revision), KEYS).stamp.expires_ns == NOW + DAY


async def test_without_a_path_the_packaged_rules_run(store: BundleStore, tmp_path: Path) -> None:
    found = await bundle_of(None, {}, store)
    assert (found.revision, found.expires_ns) == (BUNDLE.revision, None)
    path, key = tmp_path / "bundle.tar.gz", tmp_path / "key.pem"
    path.write_bytes(packed(variant()))
    key.write_bytes(KEY.public_pem())
    outside = await bundle_of(path, {KEY.keyid: key}, store)
    assert (outside.revision, outside.expires_ns) == (variant().revision, NOW + 90 * DAY)


async def test_bundles_that_come_at_once_are_each_whole(store: BundleStore) -> None:
    parts = [bytes([value]) * 100_000 for value in range(8)]
    await asyncio.gather(*(store.keep(part, revision=REVISION) for part in parts))
    assert await store.read(REVISION) in parts
