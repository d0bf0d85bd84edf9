"""The overlay that tests put beside our rules: the example, whole or changed."""

import json
from typing import Any

from policy.bundle import home
from policy.overlay import Overlay

FOLDER = home / "examples" / "overlay"
NAME = "klinikum"


def files(**changes: Any) -> dict[str, bytes]:
    """The example's files; `overlay=("before", "after")` changes one, `messages={...}` adds rows."""
    found = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir())}
    for name, change in changes.items():
        if isinstance(change, tuple):
            text = found[f"{name}.rego"].decode()
            assert change[0] in text, "the change has gone stale"
            found[f"{name}.rego"] = text.replace(*change).encode()
        else:
            table = json.loads(found[f"{name}.json"])
            table["rows"] |= change
            found[f"{name}.json"] = json.dumps(table).encode()
    return found


def overlay(**changes: Any) -> Overlay:
    """The example, with changes."""
    return Overlay.read(NAME, files(**changes))


def renamed(name: str) -> Overlay:
    """The example as another organisation's."""
    texts = {path: text.decode() for path, text in files().items()}
    return Overlay.read(
        name,
        {
            path: text.replace("klinikum", name).replace("KLINIKUM", name.upper()).encode()
            for path, text in texts.items()
        },
    )
