"""The system that the pages' examples talk to."""

from tests.fixtures.system import carnet_dev

__all__ = ["carnet_dev"]
