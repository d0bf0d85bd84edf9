"""Sealing a payload, against SHA-256 of the same bytes and against AES-256-GCM of the same bytes, each alone.

Sealing is `SegmentSealer` as the client's outbox drives it: the key derived, 64 MiB a segment, 1 MiB an update,
encrypted in committing chunks of 16 KiB, the ciphertext hashed once. SHA-256 alone is the bound: the manifest needs the
digest of all the ciphertext. One thread, in memory.

    ./dev bench seal [--mebibytes 256] [--runs 9] [--long]
"""

import argparse
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from carnet.core import limits
from carnet.core.segment import SegmentSealer, segment_sizes
from tests.bench.support.measure import quotients, ratio, say, value

PIECE: Final = limits.MIB
UNIT: Final = "bytes/s / bytes/s"


def seal(data: memoryview) -> None:
    """One object, sealed segment by segment; its ciphertext is dropped."""
    root, job_id, at = bytearray(secrets.token_bytes(32)), secrets.token_bytes(16), 0
    sizes = list(segment_sizes(len(data)))
    for index, size in enumerate(sizes):
        sealer = SegmentSealer(root, job_id=job_id, object_id=1, index=index, last=index == len(sizes) - 1)
        for piece in pieces(data[at : at + size]):
            sealer.update(piece)
        sealer.finish()
        assert len(sealer.digest) == 32
        at += size


def sha256(data: memoryview) -> None:
    """The bound: a digest of as many bytes."""
    digest = hashlib.sha256()
    for piece in pieces(data):
        digest.update(piece)
    assert len(digest.digest()) == 32


def aes256gcm(data: memoryview) -> None:
    """Encryption that commits to no key and hashes nothing: one message a piece."""
    cipher = AESGCM(secrets.token_bytes(32))
    for number, piece in enumerate(pieces(data)):
        cipher.encrypt(number.to_bytes(12), piece, None)


def pieces(data: memoryview) -> Iterator[memoryview]:
    """The bytes as the outbox reads them."""
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE]


def measured(data: memoryview, runs: int) -> dict[str, list[float]]:
    """Bytes a second of each way, run by run, by turns."""
    ways: list[Callable[[memoryview], None]] = [seal, sha256, aes256gcm]
    speeds: dict[str, list[float]] = {way.__name__: [] for way in ways}
    for run in range(runs + 1):
        for way in ways[run % 3 :] + ways[: run % 3]:
            began = time.perf_counter()
            way(data)
            speeds[way.__name__].append(len(data) / (time.perf_counter() - began))
        if run:
            say(f"run {run}: " + ", ".join(f"{name} {figures[-1] / 1e9:.2f} GB/s" for name, figures in speeds.items()))
    # The first run warms caches and the allocator.
    return {name: figures[1:] for name, figures in speeds.items()}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="./dev bench seal", description="Sealing against its two bounds.")
    parser.add_argument("--mebibytes", type=int, default=256)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--long", action="store_true", help="1 GiB, 21 runs")
    found = parser.parse_args()
    mebibytes, runs = (1024, 21) if found.long else (found.mebibytes, found.runs)
    speeds = measured(memoryview(os.urandom(mebibytes * limits.MIB)), runs)
    ratio(
        "seal",
        "sealing_over_sha256",
        quotients(speeds["seal"], speeds["sha256"]),
        better="higher",
        target=0.5,
        unit=UNIT,
    )
    ratio(
        "seal",
        "sealing_over_aes256gcm",
        quotients(speeds["seal"], speeds["aes256gcm"]),
        better="higher",
        target=None,
        unit=UNIT,
    )
    for name, figures in speeds.items():
        value("seal", f"{name}_speed", [figure / 1e9 for figure in figures], unit="GB/s")


if __name__ == "__main__":
    main()
