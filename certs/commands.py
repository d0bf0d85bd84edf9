"""`carnet dev`: everything on one machine (`certs/system.py`), until Ctrl-C. For development only."""

import asyncio
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cyclopts
from rich.console import Console

from certs.processes import StartFailed
from certs.system import Development, development

app = cyclopts.App(name="dev", help="Everything on one machine, for development.")


@app.default
async def dev(
    *,
    directory: Annotated[Path, cyclopts.Parameter(help="Where everything is kept.")] = Path(".carnet"),
    image: Annotated[str, cyclopts.Parameter(env_var="CARNET_BASE_IMAGE", help="An image with python3.")],
    opa: Annotated[
        Path | None,
        cyclopts.Parameter(
            env_var="CARNET_OPA", help="The OPA binary; else `opa` on the path, else the embedded engine."
        ),
    ] = None,
) -> int:
    """Start everything, say where it listens, and serve until Ctrl-C."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    console = Console(stderr=True)
    try:
        async with development(directory, image=image, opa=_binary(opa)) as running:
            _announce(console, running, image)
            await stop.wait()
    except StartFailed as error:
        console.print(f"carnet dev: {error}")
        return 6
    return 0


def _binary(named: Path | None) -> Path | None:
    found = shutil.which(named or "opa")
    if named is not None and found is None:
        raise StartFailed(f"{named} is not an OPA binary")
    return Path(found) if found else None


def _announce(console: Console, running: Development, image: str) -> None:
    lines: Sequence[str] = (
        "",
        "[bold]carnet dev[/bold]: for development only. All keys of all parties are in one folder.",
        f"  enterprises  {running.enterprise}   (mTLS and a token)",
        f"  runners      {running.runner}   (mTLS): " + ", ".join(sorted(running.runner_pids)),
        f"  metrics      http://{running.metrics}/metrics",
        f"  context      {running.context}",
        "",
        "  Try:",
        f"  carnet run --context {running.context} {image} --data-class technical --origin DE --controlled no"
        " -- python3 -c 'print(1)'",
        "",
    )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
