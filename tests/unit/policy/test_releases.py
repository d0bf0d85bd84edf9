"""`carnet policy key`, `release` and `verify`: a signed file from one command, and what a gateway makes of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.publishing import bundle_of
from gateway.storage.bundles import BundleStore
from policy.commands.app import app
from policy.signing import keyid_of, public_key
from tests.fixtures.releases import BUNDLE, OTHER


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        app([str(argument) for argument in arguments], exit_on_error=False, print_error=False)
    return int(ended.value.code or 0)


@pytest.fixture
def key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run("key", tmp_path / "key.pem", "--public", tmp_path / "public.pem") == 0
    assert json.loads(capsys.readouterr().out) == {
        "keyid": keyid_of(public_key((tmp_path / "public.pem").read_bytes()))
    }
    return tmp_path / "key.pem"


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


async def test_a_release_is_verified_and_a_gateway_runs_it(
    key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, public = tmp_path / "bundle.tar.gz", tmp_path / "public.pem"
    assert run("release", archive, "--key", key, "--days", 10, "--at", "2026-11-22") == 0
    made = printed(capsys)
    assert (made["revision"], made["sequence"]) == (BUNDLE.revision, 1_795_305_600)
    assert made["expires"] == "2026-12-02T00:00:00Z"
    assert run("verify", archive, "--public", public) == 0
    assert printed(capsys) == made
    found = await bundle_of(archive, {made["keyid"]: public}, BundleStore(tmp_path / "bundles"))
    assert (found.revision, found.expires_ns) == (BUNDLE.revision, 1_796_169_600 * 10**9)


def test_a_release_that_another_key_signed_is_not_verified(key: Path, tmp_path: Path) -> None:
    archive, other = tmp_path / "bundle.tar.gz", tmp_path / "other.pem"
    other.write_bytes(OTHER.public_pem())
    assert run("release", archive, "--key", key) == 0
    assert run("verify", archive, "--public", other) == 6
    archive.write_bytes(archive.read_bytes()[:-1])
    assert run("verify", archive, "--public", tmp_path / "public.pem") == 2


def test_a_key_that_is_there_is_kept_and_one_that_others_may_read_is_not_used(key: Path, tmp_path: Path) -> None:
    before = key.read_bytes()
    assert run("key", key, "--public", tmp_path / "public.pem") == 0
    assert key.read_bytes() == before
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o640)
    assert run("release", tmp_path / "bundle.tar.gz", "--key", key) == 6
    assert not (tmp_path / "bundle.tar.gz").exists()


@pytest.mark.parametrize("wrong", [("--days", 0), ("--days", 367), ("--sequence", 0), ("--at", "yesterday")])
def test_a_release_that_would_not_be_one_is_not_written(key: Path, tmp_path: Path, wrong: tuple[object, ...]) -> None:
    assert run("release", tmp_path / "bundle.tar.gz", "--key", key, *wrong) == 2
    assert not (tmp_path / "bundle.tar.gz").exists()
    assert run("release", tmp_path / "no" / "bundle.tar.gz", "--key", key) == 2
