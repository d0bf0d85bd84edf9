"""`carnet run`: one job from here to a permitted country and home again, with proof.

Prepare, seal, submit, wait, open. The job's stdout and stderr come out of ours; all else that is said goes to stderr.
An interrupt after the job was sent cancels it; a `--timeout` only stops the waiting.
"""

import asyncio
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from carnet.cli.declaration import Declaration
from carnet.cli.exits import ExitCode, exit_of_class
from carnet.cli.follow import follow
from carnet.cli.homecoming import Homecoming
from carnet.cli.options import DEFAULT, Options, connected
from carnet.cli.output import codes, say, warn
from carnet.cli.preparing import chosen_facts, refuse_nobody, tell_denial, tell_waiting
from carnet.core.errors import CarnetError, FieldInvalid, Unavailable
from carnet.core.job import JobState

if TYPE_CHECKING:
    from carnet.client import Client
    from carnet.outbox import SealedJob, Work, WorkFile

cancel_seconds: Final = 5.0


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What goes into the job beside its command."""

    input: Annotated[
        tuple[str, ...], Parameter(name="--input", help="A file of the job: FILE, or NAME=FILE. (often)")
    ] = ()
    env: Annotated[
        tuple[str, ...], Parameter(name="--env", help="NAME=VALUE, or NAME to take its value from here. (often)")
    ] = ()
    raw: Annotated[bool, Parameter(help="The image's own command; its stdin is the one --input. CMD is public.")] = (
        False
    )
    logs: Annotated[Literal["sealed", "none"], Parameter(help="Whether the job's output comes home.")] = "sealed"


EMPTY: Final = Package()


async def run(
    image: str,
    /,
    *command: str,
    facts: Path | None = None,
    declared: Declaration | None = None,
    package: Package = EMPTY,
    output: Path | None = None,
    receipt: Path | None = None,
    wait_max: Annotated[float | None, Parameter(name="--timeout")] = None,
    print_facts: bool = False,
    options: Options = DEFAULT,
) -> int:
    """Run a job where it may run: prepare, seal, submit, wait, open.

    carnet run IMAGE --data-class technical --origin DE --controlled no -- python3 -c 'print(1)'

    Parameters
    ----------
    image
        the image by digest: repository@sha256:..., or sha256:... in development
    command
        what to run in it, after --
    facts
        a file with carnet.facts/v1, sent as it is; it takes the place of the options below
    output
        a folder for the job's result files; it must be new or empty
    receipt
        where the receipt goes; else beside the output
    wait_max
        the longest to wait, in seconds; the job goes on
    print_facts
        print the facts that would be sent, and stop
    """
    data = chosen_facts(facts=facts, declared=declared, image=image, options=options)
    if print_facts:
        sys.stdout.buffer.write(data)
        return ExitCode.OK
    home = Homecoming(output=output, receipt=receipt)
    home.check_free()
    work = _work(data, command, package)
    async with connected(options) as client:
        sealed = await _sealed(client, work, facts)
        if sealed is None:
            return ExitCode.DENIED
        name = await _submit(client, sealed)
        await _wait(client, name, wait_max)
        outcome = await home.take(client, name)
    return exit_of_class(outcome.receipt.receipt.exit_class)


async def _sealed(client: "Client", work: "Work", facts: Path | None) -> "SealedJob | None":
    prepared = await client.prepare(work.facts)
    if prepared.denied:
        tell_denial(prepared, facts=facts)
        return None
    if prepared.waits:
        tell_waiting(prepared)
        return await client.seal(work, prepared)
    if not prepared.runners:
        refuse_nobody(prepared)
    say(f"permitted in {codes(prepared.decided.body.permitted)}")
    sealed = await client.seal(work, prepared)
    names = ", ".join(f"{r.jurisdiction} ({r.spiffe_id})" for r in sealed.manifest.recipients)
    say(f"sealed for {names}")
    return sealed


async def _submit(client: "Client", sealed: "SealedJob") -> str:
    try:
        name = await client.submit(sealed)
    except Unavailable:
        warn(f"it may have been accepted all the same: carnet job get {sealed.manifest.job_id.hex()}")
        warn(f"the sealed job is kept; send it again: carnet job submit {sealed.directory}")
        raise
    except BaseException:  # what was refused, or is not wanted any more, must not stay
        with suppress(FileNotFoundError):
            sealed.discard()
        raise
    say(f"accepted {name}")
    return name


async def _wait(client: "Client", name: str, seconds_max: float | None) -> None:
    from carnet.answers import ended_without_receipt

    try:
        async with asyncio.timeout(seconds_max):
            last = await follow(client, name, mend=client.add_recipients)
    except TimeoutError:
        warn(f"stopped waiting; the job goes on: carnet job watch {name}")
        raise
    except asyncio.CancelledError:
        warn("interrupted; cancelling the job")
        with suppress(CarnetError, TimeoutError):
            async with asyncio.timeout(cancel_seconds):
                await client.cancel(name)
        raise
    if last is None or last.state not in (JobState.SUCCEEDED, JobState.FAILED) or not last.runner:
        raise ended_without_receipt(last)


def _work(facts: bytes, command: tuple[str, ...], package: Package) -> "Work":
    from carnet.core.job import LogMode, Mode
    from carnet.outbox import Work

    return Work(
        facts=facts,
        command=command,
        environment=tuple(_variable(text) for text in package.env),
        files=tuple(_file(text) for text in package.input),
        mode=Mode.RAW if package.raw else Mode.FRAMED,
        log_mode=LogMode(package.logs),
    )


def _variable(text: str) -> tuple[str, str]:
    name, given, value = text.partition("=")
    if not given:
        found = os.environ.get(name)
        if found is None:
            raise FieldInvalid(f"--env {name}: there is no such variable here.", metadata={"field": "env"})
        value = found
    if not name:
        raise FieldInvalid("--env must be NAME=VALUE or NAME.", metadata={"field": "env"})
    return name, value


def _file(text: str) -> "WorkFile":
    from carnet.outbox import WorkFile

    name, given, place = text.partition("=")
    path = Path(place if given else text)
    if not path.is_file():
        raise FieldInvalid(f"--input {path}: there is no such file.", metadata={"field": "input"})
    return WorkFile(name=name if given else path.name, source=path)
