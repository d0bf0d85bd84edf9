"""The commands of other roles, found by entry points (`carnet.commands`) and loaded only when one is called.

The SDK imports no role; where a role is installed beside it, its commands appear. A role can add a name, and never
take one that is there.
"""

from importlib.metadata import entry_points
from typing import Final

from cyclopts import App

GROUP: Final = "carnet.commands"


def add_roles(app: App) -> None:
    """Register what the installed roles bring."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        if entry.name not in app:
            app.command(f"{entry.module}:{entry.attr}", name=entry.name)


def installed(name: str) -> bool:
    """Whether a role brings this command."""
    return any(entry.name == name for entry in entry_points(group=GROUP))
