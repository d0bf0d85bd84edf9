"""The Rego profile: which built-ins policy may use, in one table, and OPA's capabilities made from it.

- A policy that uses anything else does not compile, so it never loads. `allow_net` is empty: nothing dials out.
- The declarations come from the engine at hand, the choice from `profile.json`; a built-in that the engine does not
  have is an error, so the two never drift apart unseen.
"""

import json
from pathlib import Path

from carnet.core.document import Json
from carnet.core.errors import Bug
from policy.bundle import home


def capabilities(
    current: Json, *, table: Path = home / "profile.json", also: frozenset[str] = frozenset()
) -> dict[str, Json]:
    """OPA capabilities, cut from `opa capabilities --current` to the profile. Raises `Bug` where they do not fit.

    `also` are built-ins that tests may use, and rules may not.
    """
    profile = json.loads(table.read_bytes())
    allowed = set(profile["builtins"]) | also
    builtins = current.get("builtins") if isinstance(current, dict) else None
    if not isinstance(builtins, list):
        raise Bug(detail="the engine states no built-ins")
    kept: list[Json] = [entry for entry in builtins if isinstance(entry, dict) and entry.get("name") in allowed]
    if len(kept) != len(allowed):
        raise Bug(detail="the engine lacks built-ins of the profile")
    return {"builtins": kept, "future_keywords": [], "features": profile["features"], "allow_net": []}
