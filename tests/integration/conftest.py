"""Fixtures of the integration tests: a real engine and real images, and parties with real keys."""

from tests.fixtures.cage import base_image, busybox_image, engine
from tests.fixtures.gateway_process import world
from tests.fixtures.parties import parties

__all__ = ["base_image", "busybox_image", "engine", "parties", "world"]
