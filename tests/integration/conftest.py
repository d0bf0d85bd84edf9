"""Fixtures of the integration tests: a real engine, real images, and a whole system."""

from tests.fixtures.cage import base_image, busybox_image, engine
from tests.fixtures.system import carnet_dev, client

__all__ = ["base_image", "busybox_image", "carnet_dev", "client", "engine"]
