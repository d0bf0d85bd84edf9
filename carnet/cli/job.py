"""`carnet job`: ask where a job may run, send what was kept, and look after jobs that were sent."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter

from carnet.cli.answers import prepared_document, show_prepared, show_summary, summary_document
from carnet.cli.declaration import Declaration
from carnet.cli.exits import BY_STATE, ExitCode, exit_of_class
from carnet.cli.explain import explain
from carnet.cli.follow import follow
from carnet.cli.homecoming import Homecoming
from carnet.cli.options import DEFAULT, Options, connected, job_name
from carnet.cli.output import (
    Format,
    ListFormat,
    show,
    show_json,
    show_table,
    when,
)
from carnet.cli.preparing import chosen_facts
from carnet.core.errors import FieldInvalid

if TYPE_CHECKING:
    from carnet.answers import JobSummary
    from carnet.client import Client

app = App(name="job", help="Ask where a job may run, and look after jobs.")

app.command(explain)

page_size: Final = 100


@app.command
async def prepare(
    image: str | None = None,
    /,
    *,
    facts: Path | None = None,
    declared: Declaration | None = None,
    output: Annotated[Format, Parameter(name=["--output", "-o"])] = "table",
    options: Options = DEFAULT,
) -> int:
    """Ask where a job may run, and on whom; nothing of the job is sent. A denial ends with 3.

    Parameters
    ----------
    image
        the image; with --facts it may be left out
    facts
        a file with carnet.facts/v1; it takes the place of the options below
    output
        table or json
    """
    data = chosen_facts(facts=facts, declared=declared, image=image, options=options)
    async with connected(options) as client:
        prepared = await client.prepare(data)
    if output == "json":
        show_json(prepared_document(prepared))
    else:
        show_prepared(prepared, facts)
    return ExitCode.DENIED if prepared.denied else ExitCode.OK


@app.command
async def submit(folder: Path, /, *, options: Options = DEFAULT) -> int:
    """Send a sealed job again that was kept when the gateway did not answer; prints its name.

    Parameters
    ----------
    folder
        where the sealed job is
    """
    async with connected(options) as client:
        show(await client.submit(await client.load(folder)))
    return ExitCode.OK


@app.command(name="list")
async def list_jobs(
    *,
    limit: int = 50,
    output: Annotated[ListFormat, Parameter(name=["--output", "-o"])] = "table",
    options: Options = DEFAULT,
) -> int:
    """List jobs, newest first.

    Parameters
    ----------
    limit
        how many at most
    output
        table, json or name
    """
    async with connected(options) as client:
        found = [job async for job in _newest(client, limit)]
    if output == "json":
        show_json([summary_document(job) for job in found])
    elif output == "name":
        for job in found:
            show(job.name)
    else:
        show_table(
            ("job", "state", "attempt", "place", "created", "reason"),
            [
                (job.name, str(job.state), str(job.attempt), job.jurisdiction, when(job.created_ns), job.reason)
                for job in found
            ],
        )
    return ExitCode.OK


@app.command
async def get(
    name: str,
    /,
    *,
    output: Annotated[ListFormat, Parameter(name=["--output", "-o"])] = "table",
    options: Options = DEFAULT,
) -> int:
    """Show how one job stands.

    Parameters
    ----------
    name
        the job's name, or its id alone
    output
        table, json or name
    """
    async with connected(options) as client:
        job = await client.job(job_name(name, options))
    show_summary(job, output)
    return ExitCode.OK


@app.command
async def watch(
    name: str,
    /,
    *,
    wait_max: Annotated[float | None, Parameter(name="--timeout")] = None,
    options: Options = DEFAULT,
) -> int:
    """Follow a job until it ends: its output here, what happens to it on stderr. Ends as the job did.

    Parameters
    ----------
    name
        the job's name, or its id alone
    wait_max
        the longest to wait, in seconds; the job goes on
    """
    async with connected(options) as client, asyncio.timeout(wait_max):
        last = await follow(client, job_name(name, options))
    return BY_STATE[last.state] if last is not None else ExitCode.UNAVAILABLE


@app.command
async def result(
    name: str,
    /,
    *,
    output: Path | None = None,
    receipt: Path | None = None,
    options: Options = DEFAULT,
) -> int:
    """Fetch what came home: verify the receipt, open the results. Ends as the job did.

    Parameters
    ----------
    name
        the job's name, or its id alone
    output
        a folder for the result files, new or empty; without it only the receipt is fetched
    receipt
        where the receipt goes; else beside the output
    """
    home = Homecoming(output=output, receipt=receipt)
    home.check_free()
    async with connected(options) as client:
        outcome = await home.take(client, job_name(name, options))
    return exit_of_class(outcome.receipt.receipt.exit_class)


@app.command
async def recipients(
    name: str,
    /,
    *,
    output: Annotated[ListFormat, Parameter(name=["--output", "-o"])] = "table",
    options: Options = DEFAULT,
) -> int:
    """Add recipients to a job that waits for them, after policy was asked again; any client of the tenant can.

    Parameters
    ----------
    name
        the job's name, or its id alone
    output
        table, json or name
    """
    async with connected(options) as client:
        job = await client.add_recipients(job_name(name, options))
    show_summary(job, output)
    return ExitCode.OK


@app.command
async def approve(
    name: str,
    /,
    *,
    manifest: str | None = None,
    output: Annotated[ListFormat, Parameter(name=["--output", "-o"])] = "table",
    options: Options = DEFAULT,
) -> int:
    """Say that a job which awaits approval may run. It takes the role job.approver, and another person than its owner.

    Parameters
    ----------
    name
        the job's name, or its id alone
    manifest
        the manifest digest that was looked at (64 hex digits); a job with another one is not approved
    output
        table, json or name
    """
    async with connected(options) as client:
        job = await client.approve(job_name(name, options), manifest_digest=_digest(manifest))
    show_summary(job, output)
    return ExitCode.OK


@app.command
async def refuse(
    name: str,
    /,
    *,
    output: Annotated[ListFormat, Parameter(name=["--output", "-o"])] = "table",
    options: Options = DEFAULT,
) -> int:
    """Say that a job which awaits approval may not run: that is its end.

    Parameters
    ----------
    name
        the job's name, or its id alone
    output
        table, json or name
    """
    async with connected(options) as client:
        job = await client.refuse(job_name(name, options))
    show_summary(job, output)
    return ExitCode.OK


@app.command
async def cancel(
    name: str,
    /,
    *,
    output: Annotated[ListFormat, Parameter(name=["--output", "-o"])] = "table",
    options: Options = DEFAULT,
) -> int:
    """Stop a job.

    Parameters
    ----------
    name
        the job's name, or its id alone
    output
        table, json or name
    """
    async with connected(options) as client:
        job = await client.cancel(job_name(name, options))
    show_summary(job, output)
    return ExitCode.OK


def _digest(text: str | None) -> bytes:
    try:
        found = bytes.fromhex(text or "")
    except ValueError:
        found = b"?"
    if len(found) not in (0, 32):
        raise FieldInvalid("--manifest is 64 hex digits.", metadata={"field": "manifest"})
    return found


async def _newest(client: "Client", limit: int) -> "AsyncIterator[JobSummary]":
    token, left = "", limit
    while left > 0:
        page = await client.jobs(page_size=min(left, page_size), page_token=token)
        for job in page.jobs[:left]:
            yield job
        left -= len(page.jobs)
        token = page.next_page_token
        if not token or not page.jobs:
            return
