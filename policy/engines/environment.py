"""The environment of an OPA that we start: a home in a folder of ours, and room to work.

Nothing of our own environment is passed on: what is in it is not OPA's to know.

    subprocess.run([binary, "test", "rego"], cwd=folder, env=opa_environment(folder))
"""

from pathlib import Path
from typing import Final

from carnet.core import limits

# How much an OPA's memory may grow, in percent of what it uses, before what an evaluation left behind is collected.
# Go's own setting, 100, spends a fifth of an evaluation's time on that.
growth_percent: Final = 400

# Beyond this it is collected whenever it grows: a draft that eats memory is not given five times what it eats.
memory_bytes: Final = 512 * limits.MIB


def opa_environment(folder: Path) -> dict[str, str]:
    """The environment of an OPA whose home is this folder."""
    return {"HOME": str(folder), "GOGC": str(growth_percent), "GOMEMLIMIT": str(memory_bytes)}
