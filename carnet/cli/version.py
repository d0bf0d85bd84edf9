"""`carnet version`: which Carnet this is, and what it stands on."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Final

from cyclopts import Parameter

from carnet.cli.output import Format, show_json, show_pairs
from carnet.core.document import Json

# The SDK's wheel, else the project with every role.
DISTRIBUTIONS: Final = ("carnet", "carnet-server")
PARTS: Final = ("grpcio", "protobuf", "cryptography")


def show_version(*, output: Annotated[Format, Parameter(name=["--output", "-o"])] = "table") -> int:
    """Which version this is, and what it stands on."""
    found = {"carnet": own_version(), "python": platform.python_version()}
    found.update({name: _version(name) for name in PARTS})
    if output == "json":
        document: dict[str, Json] = dict(found)
        show_json(document)
    else:
        show_pairs(found.items())
    return 0


def own_version() -> str:
    """The version of Carnet that is installed, or `unknown`."""
    return next((found for name in DISTRIBUTIONS if (found := _version(name)) != "unknown"), "unknown")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
