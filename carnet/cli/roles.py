"""The commands of other roles, found by entry points (`carnet.commands`) and loaded only when one is called.

The SDK imports no role; where a role is installed beside it, its commands appear. A role can add a name, and never
take one that is there.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Final

from cyclopts import App

GROUP: Final = "carnet.commands"


def add_roles(app: App, *, describe: bool) -> None:
    """Register what the installed roles bring; with `describe`, with the help that they give themselves."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        if entry.name not in app:
            text = _help(entry) if describe else None
            app.command(f"{entry.module}:{entry.attr}", name=entry.name, help=text)


def _help(entry: EntryPoint) -> str:
    try:
        found = entry.load()
    except (ImportError, AttributeError):
        return "(can not be loaded)"
    return found.help if isinstance(found, App) else ""


def installed(name: str) -> bool:
    """Whether a role brings this command."""
    return any(entry.name == name for entry in entry_points(group=GROUP))
