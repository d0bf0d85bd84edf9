"""Wycheproof's JWS and JWK vectors against the signature layer: strict reading, key set, signature.

The vectors are not part of this repository. `CARNET_VECTORS` names their folder; continuous integration must have it.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from carnet.core.errors import FieldInvalid, TokenInvalid
from gateway.jwks import Algorithm, parse_jwks
from gateway.tokens import check_signature, read_jws

FOLDER = Path(os.environ.get("CARNET_VECTORS") or Path(__file__).parents[3] / "shared/data/vectors")


def groups(name: str) -> list[Mapping[str, Any]]:
    path = FOLDER / name
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not in the folder that CARNET_VECTORS names")
        pytest.skip(f"{name} is not here; CARNET_VECTORS names the folder of published vectors")
    found: list[Mapping[str, Any]] = json.loads(path.read_bytes())["testGroups"]
    return found


def accepted(jws: object, keys: list[Mapping[str, Any]], algorithm: Algorithm) -> bool:
    """Whether the layer takes a token under a key set, as the judge uses it."""
    try:
        read = read_jws(jws if isinstance(jws, str) else json.dumps(jws))
        key = parse_jwks(json.dumps({"keys": keys}).encode(), algorithm).get(read.kid)
        if key is None or read.algorithm != algorithm:
            return False
        check_signature(str(jws), key, algorithm)
    except (FieldInvalid, TokenInvalid):
        return False
    return True


def cases(name: str) -> Iterator[tuple[Mapping[str, Any], list[Mapping[str, Any]]]]:
    for group in groups(name):
        holder = group.get("public") or group["private"]
        for test in group["tests"]:
            yield test, holder.get("keys", [holder])


@pytest.mark.parametrize("name", ["json_web_signature_test.json", "json_web_key_test.json"])
def test_every_invalid_vector_is_refused_under_every_pinned_algorithm(name: str) -> None:
    refused = 0
    for test, keys in cases(name):
        if test["result"] == "invalid":
            taken = [algorithm for algorithm in Algorithm if accepted(test["jws"], keys, algorithm)]
            assert not taken, (test["tcId"], test["comment"], taken)
            refused += 1
    assert refused == {"json_web_signature_test.json": 355, "json_web_key_test.json": 21}[name]


def test_the_valid_vectors_of_the_pinned_algorithms_are_taken() -> None:
    """All but those whose key set is symmetric, or whose algorithm is none that an issuer may be pinned to."""
    taken = {
        test["comment"]: algorithm
        for test, keys in cases("json_web_signature_test.json")
        for algorithm in Algorithm
        if test["result"] == "valid" and keys[0].get("alg") == algorithm and accepted(test["jws"], keys, algorithm)
    }
    assert {Algorithm.ES256, Algorithm.RS256} <= set(taken.values())
