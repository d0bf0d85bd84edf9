"""The judge of a probe: it names what does not hold, and takes nothing unreadable for well."""

import copy
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.core.runner import Isolation
from sandbox.probe import judge

GOOD = {
    "status": {
        "Uid": "70000\t70000\t70000\t70000",
        "Gid": "70000\t70000\t70000\t70000",
        "Groups": "-",
        **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16),
        "NoNewPrivs": "1",
        "Seccomp": "2",
    },
    "mounts": {"/": "ro,relatime", "/work": "rw,nosuid,nodev,noexec", "/tmp": "rw,nosuid,nodev,noexec"},
    "interfaces": ["lo"],
    "resolver": "nameserver 127.0.0.1\n",
    "environment": ["HOME", "PATH"],
    "core": 0,
    "nofile": 1024,
    "calls": {"keyctl": "EPERM"},
    "families": {"AF_VSOCK": "EPERM"},
    "writes": {"/x": "EROFS"},
    "tcp": "ENETUNREACH",
    "sockets": [],
    "work": 4_000_000,
    "forks": 40,
    "memory": 9,
}


def judged(document: object, isolation: Isolation = Isolation.CONTAINER) -> tuple[str, ...]:
    return judge(json.dumps(document).encode(), uid=70_000, isolation=isolation)


def test_a_cage_that_holds_has_no_failures() -> None:
    assert judged(GOOD) == ()


@pytest.mark.parametrize(
    ("name", "value", "failure"),
    [
        ("interfaces", ["lo", "eth0"], "there is a network interface"),
        ("resolver", "nameserver 10.0.0.2\n", "the host's resolver is visible"),
        ("environment", ["https_proxy"], "a proxy is in the environment"),
        ("core", 1, "the limits of core and files are others"),
        ("tcp", "works", "a host can be reached"),
        ("sockets", ["/run/docker.sock"], "an engine's socket is there"),
        ("work", 16_000_000, "the limit of /work does not hold"),
        ("forks", 96, "the limit of processes does not hold"),
        ("forks", 0, "the limit of processes does not hold"),
        ("memory", 0, "the limit of memory does not hold"),
        ("calls", {"keyctl": "works"}, "keyctl works"),
        ("calls", {"keyctl": "EFAULT"}, "keyctl works"),
        ("families", {"AF_VSOCK": "works"}, "AF_VSOCK works"),
        ("writes", {"/proc/sys/x": "works"}, "/proc/sys/x can be written"),
        ("mounts", {**GOOD["mounts"], "/": "rw"}, "/ is mounted otherwise"),  # type: ignore[dict-item]
    ],
)
def test_what_does_not_hold_is_named(name: str, value: object, failure: str) -> None:
    assert judged({**GOOD, name: value}) == (failure,)


def test_gvisor_may_ignore_the_list_of_calls_but_not_the_limits() -> None:
    seen = copy.deepcopy(GOOD)
    seen["status"]["Seccomp"] = "0"  # type: ignore[index]
    seen["calls"] = {"keyctl": "works"}
    assert judged(seen, Isolation.GVISOR) == ()
    assert judged({**seen, "forks": 96}, Isolation.GVISOR) == ("the limit of processes does not hold",)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_fact_that_is_missing_is_a_failure(name: str) -> None:
    seen = {key: value for key, value in GOOD.items() if key != name}
    assert judged(seen)


@given(words=st.binary(max_size=200))
def test_any_words_are_judged_and_none_of_them_are_well(words: bytes) -> None:
    assert judge(words, uid=70_000, isolation=Isolation.CONTAINER)


def test_every_status_counts() -> None:
    change: Callable[[str], object] = lambda key: {**GOOD, "status": {**GOOD["status"], key: "7"}}  # type: ignore[dict-item]  # noqa: E731
    for key in ("Uid", "Gid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"):
        assert judged(change(key)) == (f"{key} is another",)
