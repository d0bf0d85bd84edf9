"""`carnet audit`: proof that needs no server. `verify` holds a receipt file against pins that the reader chose."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from carnet.cli.exits import ExitCode
from carnet.cli.options import DEFAULT, Options
from carnet.cli.output import Format, say, show_json, show_pairs, warn
from carnet.core.errors import CarnetError
from carnet.core.limits import MIB

app = App(name="audit", help="Check offline what was proven.")

# A receipt file holds statements, proofs and two decisions; the largest that the limits allow is far below this.
receipt_bytes_max = 16 * MIB


@app.command
def verify(
    file: Path,
    /,
    *,
    pins: Path | None = None,
    output: Annotated[Format, Parameter(name=["--output", "-o"])] = "table",
    options: Options = DEFAULT,
) -> int:
    """Verify a receipt file, with no server. Ends with 0 only when all of it holds, else with 1.

    Parameters
    ----------
    file
        the receipt file, as `carnet run --receipt` wrote it
    pins
        a pins file: whom to trust; else that of the context
    output
        table or json
    """
    from carnet import proof
    from carnet.cli.proven import proven_document, proven_pairs
    from carnet.pins import load_pins

    trusted = load_pins(pins) if pins else options.load().pins
    message = proof.from_file(_read(file))
    try:
        proven = proof.verify(message, pins=trusted)
    except CarnetError as error:
        if output == "json":
            show_json({"verified": False, "reason": error.reason, "text": error.text})
        warn(f"DOES NOT HOLD  {error.reason}: {error.text}")
        return ExitCode.JOB_FAILED
    if output == "json":
        show_json(proven_document(proven, origin=trusted.gateway.origin))
    else:
        show_pairs(proven_pairs(proven, origin=trusted.gateway.origin))
        say("All of it holds: signatures, image, place, decisions, permit, lease, and inclusion in the log.")
    return ExitCode.OK


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(receipt_bytes_max)
