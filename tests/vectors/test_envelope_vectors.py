"""Runs the envelope vectors: every case opens to the bytes that it names, or is refused by the one error that it names.

Streams are fed whole, in odd slices and byte-aligned ones: how ciphertext arrives never decides whether it opens.
"""

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from carnet.core import envelope, errors
from carnet.core.encoding import ctx
from carnet.core.envelope import HybridPrivateKey, HybridPublicKey
from carnet.core.job import SealedObject
from carnet.core.segment import Opener

FOLDER = Path(__file__).parent / "envelope"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
TEXTS = {"spiffe_id", "jurisdiction", "label"}
Input = dict[str, Any]


def load(name: str) -> dict[str, Any]:
    case: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    found = {k: b64decode(v) if isinstance(v, str) and k not in TEXTS else v for k, v in case["input"].items()}
    if "from" in case:
        found = load(case["from"])["input"] | found
    if "slices" in case:
        found["ciphertext"] = b"".join(found["ciphertext"][start:end] for start, end in case["slices"])
    return case | {"input": found}


def take(given: Input, *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names}


def private(given: Input) -> HybridPrivateKey:
    return HybridPrivateKey.from_seed(given["seed"])


def stream(make: Callable[[], Opener], ciphertext: bytes, *, size: int) -> bytes:
    opener = make()
    plain = b"".join(opener.update(ciphertext[i : i + size]) for i in range(0, len(ciphertext), size))
    return plain + opener.finish()


def context(given: Input) -> bytes:
    return ctx(given["label"], *map(bytes.fromhex, given["fields"]))


def unwrap(given: Input) -> bytes:
    names = take(given, "manifest_digest", "spiffe_id", "jurisdiction", "kid")
    return bytes(envelope.unwrap_root(private(given), given["wrap"], **names))


def unwrap_addendum(given: Input) -> bytes:
    names = take(given, "manifest_digest", "addendum_digest", "spiffe_id", "jurisdiction", "kid")
    return bytes(envelope.unwrap_root_addendum(private(given), given["wrap"], **names))


def unwrap_self(given: Input) -> bytes:
    return bytes(envelope.open_self_wrap(private(given), given["wrap"], manifest_digest=given["manifest_digest"]))


def unwrap_result(given: Input) -> bytes:
    names = take(given, "manifest_digest", "grant_digest", "spiffe_id")
    return bytes(envelope.unwrap_result_root(private(given), given["wrap"], **names))


def sealed_object(given: Input) -> bytes:
    digests = tuple(map(bytes.fromhex, given["digests"]))
    told = SealedObject(id=given["object_id"], size=given["size"], segment_digests=digests)
    return envelope.open_bytes(given["root"], job_id=given["job_id"], sealed=told, segments=[given["ciphertext"]])


def log(given: Input) -> bytes:
    names = take(given, "manifest_digest", "grant_digest", "stream", "sequence")
    return envelope.open_log(given["root"], given["ciphertext"], final=bool(given["final"]), **names)


def segment(given: Input, size: int) -> bytes:
    names = take(given, "job_id", "object_id", "index") | {"last": bool(given["last"])}
    return stream(lambda: envelope.SegmentOpener(given["root"], **names), given["ciphertext"], size=size)


def result_segment(given: Input, size: int) -> bytes:
    names = take(given, "manifest_digest", "grant_digest", "object_id", "index") | {"last": bool(given["last"])}
    return stream(lambda: envelope.ResultOpener(given["root"], **names), given["ciphertext"], size=size)


WHOLE: dict[str, Callable[[Input], bytes]] = {
    "context": context,
    "commit": lambda given: envelope.root_commit(given["root"], given["job_id"]),
    "result-key": lambda given: envelope.result_key(given["master"], given["job_id"]).public,
    "public": lambda given: HybridPublicKey(given["public"]).kid,
    "unwrap": unwrap,
    "unwrap-addendum": unwrap_addendum,
    "self": unwrap_self,
    "result": unwrap_result,
    "object": sealed_object,
    "log": log,
}
STREAMS: dict[str, Callable[[Input, int], bytes]] = {"segment": segment, "result-segment": result_segment}


def outcome(ask: Callable[[], bytes]) -> tuple[str, str | None]:
    try:
        output = ask()
    except errors.CarnetError as error:
        # One outward error: nothing tells a bad key from a bad tag or a bad size, so its text is part of the outcome.
        unopened = (str(error), error.detail) == ("The envelope can not be opened.", "")
        return type(error).__name__ if unopened or not isinstance(error, errors.EnvelopeUnopened) else str(error), None
    return "accepted", hashlib.sha256(output).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_the_vector_has_the_outcome_that_it_names(name: str) -> None:
    case = load(name)
    expected = (case["expect"], case.get("output"))
    given = case["input"]
    if case["operation"] in WHOLE:
        assert outcome(lambda: WHOLE[case["operation"]](given)) == expected
        return
    for size in (2**20, 1009, 4096):
        assert outcome(partial(STREAMS[case["operation"]], given, size)) == expected


def test_every_file_is_a_case_of_its_name_and_both_outcomes_are_there() -> None:
    cases = [load(name) for name in NAMES]
    assert [case["name"] for case in cases] == NAMES
    assert len(cases) > 120
    for operation in {*STREAMS, *WHOLE} - {"context", "commit", "result-key"}:
        outcomes = {case["expect"] == "accepted" for case in cases if case["operation"] == operation}
        assert outcomes == {True, False}, operation
