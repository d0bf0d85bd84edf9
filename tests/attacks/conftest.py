"""Fixtures of the attacks: a real engine and real images, and parties with real keys for those that need no engine."""

from tests.fixtures.cage import base_image, busybox_image, engine
from tests.fixtures.malicious_gateway import recorded
from tests.fixtures.parties import parties

__all__ = ["base_image", "busybox_image", "engine", "parties", "recorded"]
