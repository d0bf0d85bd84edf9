"""The `carnet` command: its nouns, and the one place where an error becomes an exit code.

- An expected error is one line on stderr with its reason, and a code of `carnet.cli.exits`; never a traceback, unless
  `--debug` asks for it. An unexpected one names its type, and ends with 70.
- Other roles add commands of their own (`carnet.cli.roles`); none is imported here.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App, Parameter

from carnet.cli import audit, doctor, job, run, version
from carnet.cli.exits import ExitCode, exit_code
from carnet.cli.output import warn
from carnet.cli.roles import add_roles
from carnet.core.errors import CarnetError, FieldInvalid, PolicyDenied


def build(*, describe: bool = True) -> App:
    """The command with all that is installed. To `describe` what other roles bring, they are loaded."""
    app = App(
        name="carnet",
        help="Run confidential jobs across borders, where they may run, and verify what comes home.",
        version=version.own_version,
        default_parameter=Parameter(negative=(), show_default=_shown),
    )
    app.command(run.run, name="run")
    app.command(job.app)
    app.command(audit.app)
    app.command(doctor.doctor, name="doctor")
    app.command(version.show_version, name="version")
    add_roles(app, describe=describe)
    return app


def _shown(default: object) -> str | None:
    return None if default in (None, False, "", ()) else str(default)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command, and end with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    ours = given[: given.index("--")] if "--" in given else given
    debug = "--debug" in ours
    if not debug:
        # The gRPC core writes its own words to stderr; what they mean comes back as an error.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(_run(given, debug=debug))


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        describe = not arguments or arguments[0].startswith("-")
        found = build(describe=describe)(arguments, result_action="return_value")
        sys.stdout.flush()
    except Exception as error:  # noqa: BLE001  # the command's root: whatever it is, it is told and ends with a code
        if debug:
            traceback.print_exc()
        return tell(error)
    return found if isinstance(found, int) else ExitCode.OK


def tell(error: Exception) -> ExitCode:
    """Say on stderr what was wrong; the code to end with."""
    match error:
        case PolicyDenied():
            _tell_denial(error)
            return exit_code(error)
        case CarnetError():
            warn(f"carnet: {error.reason}: {error.text}")
            if isinstance(error, FieldInvalid) and "context" in error.text:
                warn("carnet: `carnet doctor` says what is here and what is missing")
            return exit_code(error)
        case BrokenPipeError():
            # Whoever read our output has gone; Python must not find the pipe broken again when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.JOB_FAILED
        case TimeoutError():
            warn("carnet: timed out")
            return ExitCode.TIMED_OUT
        case OSError():
            warn(f"carnet: {error.filename or 'file'}: {error.strerror or type(error).__name__}")
            return ExitCode.USAGE
        case _:
            warn(f"carnet: a fault in Carnet ({type(error).__name__}); --debug shows where")
            return ExitCode.FAULT


def _tell_denial(error: PolicyDenied) -> None:
    from carnet.answers import Denied
    from carnet.cli.preparing import tell_denial

    if isinstance(error, Denied):
        tell_denial(error.prepared, facts=None)
    else:
        warn(f"carnet: {error.reason}: {error.text}")


if __name__ == "__main__":
    main()
