"""Fixtures of the fuzzers: a gateway in this process."""

from tests.fixtures.gateway_process import gateway_process, policy_url, world

__all__ = ["gateway_process", "policy_url", "world"]
