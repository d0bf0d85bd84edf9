"""Fixtures of the fuzzers: a gateway in this process, and parties with real keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.gateway_process import bounded, gateway_process, policy_url, world
from tests.fixtures.parties import parties

__all__ = ["gateway_process", "parties", "policy_url", "world"]


@pytest.fixture(scope="session", autouse=True)
def _hypothesis_is_warm() -> None:
    """What it reads and keeps at its first example in a checkout is 200 MiB of its own, and nobody's leak."""

    @bounded(normal=10, full=10)
    @given(st.text() | st.integers().map(str) | st.binary().map(str) | st.floats().map(str))
    def draw(_: str) -> None:
        pass

    draw()
