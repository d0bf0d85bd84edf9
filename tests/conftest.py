"""What every test shares: one Hypothesis profile, the same on a laptop and in continuous integration, and one system.

- No deadline: a machine that is busy would fail examples that are right.
- Tests that need the container engine run in one worker, one after the other: they count its containers.
- A shell that runs us in the background has us ignore interrupts, and every command that a test starts and interrupts
  would inherit that.
"""

import os
import signal

import pytest
from hypothesis import settings

from tests.fixtures.system import carnet_dev, client

__all__ = ["carnet_dev", "client"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "carnet", deadline=None, max_examples=1000 if os.environ.get("CARNET_FULL") else 100, print_blob=True
)
settings.load_profile("carnet")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The engine's tests are one group, whatever else they are."""
    for item in items:
        if item.get_closest_marker("docker") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("system"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Whoever deals by group must know the group: with a pytest that xdist does not fit, it silently would not."""
    if getattr(session.config.option, "loadgroup", False):
        lost = [item.nodeid for item in session.items if item.get_closest_marker("docker") and "@" not in item.nodeid]
        if lost:
            raise pytest.UsageError(f"xdist does not see the groups of {len(lost)} tests, {lost[0]} is one")
