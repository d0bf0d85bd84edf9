"""Fixtures of the unit tests: parties with real keys."""

from tests.fixtures.parties import parties

__all__ = ["parties"]
