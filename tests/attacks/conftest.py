"""Fixtures of the attacks: a real engine and real images, a gateway in this process, and parties with real keys."""

from tests.fixtures.cage import base_image, busybox_image, engine
from tests.fixtures.gateway_process import gateway_process, policy_url, world
from tests.fixtures.malicious_gateway import recorded
from tests.fixtures.parties import parties

__all__ = ["base_image", "busybox_image", "engine", "gateway_process", "parties", "policy_url", "recorded", "world"]
