"""What every test shares: one Hypothesis profile, the same on a laptop and in continuous integration, and one system.

No deadline: a machine that is busy would fail examples that are right.
"""

import os

from hypothesis import settings

from tests.fixtures.system import carnet_dev, client

__all__ = ["carnet_dev", "client"]

settings.register_profile(
    "carnet", deadline=None, max_examples=1000 if os.environ.get("CARNET_FULL") else 100, print_blob=True
)
settings.load_profile("carnet")
