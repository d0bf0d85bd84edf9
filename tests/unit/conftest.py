"""Fixtures of the unit tests: parties with real keys, and jobs that ran among them."""

from tests.fixtures.malicious_gateway import recorded
from tests.fixtures.parties import parties

__all__ = ["parties", "recorded"]
