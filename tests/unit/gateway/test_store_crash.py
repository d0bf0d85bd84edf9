"""A gateway that is killed in the middle of its writes: what it acknowledged is there, and its log is whole."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet.core.audit import check_logged
from gateway.auditlog import AuditLog
from gateway.storage.records import JobKey
from tests.fixtures.stored import ORIGIN, TENANT, open_store

ROOT = Path(__file__).parents[3]


def killed_writer(path: Path, key: Ed25519PrivateKey, *, lines: int) -> list[tuple[bytes, int, int]]:
    """Run a writer, kill it once it has acknowledged so many writes; job id, leaf and version of each."""
    command = [sys.executable, "-m", "tests.fixtures.store_writer", str(path), key.private_bytes_raw().hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    whole = [line.split() for line in said if line.endswith("\n")]
    return [(bytes.fromhex(job_id), int(leaf), int(version)) for job_id, leaf, version in whole]


@pytest.mark.parametrize("lines", [1, 40, 333])
async def test_every_acknowledged_write_survives_a_kill(tmp_path: Path, lines: int) -> None:
    key = Ed25519PrivateKey.generate()
    path = tmp_path / "store.db"
    acknowledged = killed_writer(path, key, lines=lines)
    acknowledged += killed_writer(path, key, lines=lines)
    assert len({leaf for _, leaf, _ in acknowledged}) == len(acknowledged) >= 2 * lines
    store = await open_store(path, key)
    log = AuditLog(store)
    for job_id, leaf, version in acknowledged:
        found = await store.job(JobKey(tenant_id=TENANT, job_id=job_id))
        assert found is not None
        assert found.version >= version
        logged = await log.prove(leaf)
        check_logged(logged.entry, logged.index, logged.path, logged.checkpoint, origin=ORIGIN, public=key.public_key())
    await store.close()
