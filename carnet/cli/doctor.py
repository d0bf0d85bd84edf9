"""`carnet doctor`: what is here, what is missing, and how to get it.

- Needed: a context with its pins, keys closed to others, a live certificate and token, a gateway that answers. The
  first of these that is missing decides the exit code: 2, 5 or 6.
- Wanted by some: Docker and OPA, to run every role on this machine. Their absence is told, and is no failure.
- It shows names and times, never a token or a key.
"""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from carnet.cli.exits import ExitCode, exit_code
from carnet.cli.findings import Finding, State
from carnet.cli.options import DEFAULT, Options, connected
from carnet.cli.output import Format, show, show_json
from carnet.core.errors import CarnetError

if TYPE_CHECKING:
    from carnet.context import Context


async def doctor(
    *,
    output: Annotated[Format, Parameter(name=["--output", "-o"])] = "table",
    options: Options = DEFAULT,
) -> int:
    """Say what is here and what is missing.

    Parameters
    ----------
    output
        table or json
    """
    found = [*await _needed(options), *_wanted()]
    if output == "json":
        show_json([finding.document() for finding in found])
    else:
        for finding in found:
            show(f"{finding.state:8}{finding.name:13}{finding.text}", style=finding.style)
            if finding.fix:
                show(f"{'':21}-> {finding.fix}")
    return next((finding.code for finding in found if finding.state is State.MISSING), ExitCode.OK)


async def _needed(options: Options) -> list[Finding]:
    try:
        context = options.load()
    except (CarnetError, OSError) as error:
        text = error.text if isinstance(error, CarnetError) else f"{error.filename}: {error.strerror}"
        fix = "`carnet dev` writes one for this machine; else ask whoever runs your gateway, and name it by --context"
        return [Finding.missing("context", text, fix=fix, code=ExitCode.USAGE)]
    here = Finding.ok("context", f"{options.context_path}, tenant {context.tenant_id.hex()}, gateway {context.gateway}")
    return [here, *_local(context), await _gateway(options)]


def _local(context: "Context") -> list[Finding]:
    from carnet.cli import findings

    return [
        findings.pins(context),
        findings.keys(context),
        findings.certificate(context),
        findings.token(context),
    ]


async def _gateway(options: Options) -> Finding:
    try:
        async with connected(options) as client:
            await client.jobs(page_size=1)
    except CarnetError as error:
        fix = "is it running, and are address, certificate and token of the context right?"
        return Finding.missing("gateway", f"{error.reason}: {error.text}", fix=fix, code=exit_code(error))
    except OSError as error:
        fix = "mend what is missing above"
        return Finding.missing("gateway", f"{error.filename} can not be read", fix=fix, code=ExitCode.USAGE)
    return Finding.ok("gateway", "answers, and takes this certificate and token")


def _wanted() -> list[Finding]:
    from carnet.cli import findings

    return [findings.engine(), findings.opa()]
