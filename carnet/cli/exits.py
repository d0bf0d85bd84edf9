"""The exit codes of the command, and the one table from errors of core to them.

- A script may rely on them: 0 ok, 1 the job failed or a proof does not hold, 2 usage, 3 denied by policy, 4 not found,
  5 unauthenticated, 6 unavailable, 70 a fault in Carnet, 124 timed out, 130 interrupted.
- An error's reason decides; where the table does not name it, its family does.

    raise SystemExit(exit_code(error))
"""

from enum import IntEnum
from typing import Final

from carnet.core.errors import Bug, CallerError, CarnetError, PeerError, Refused, Unavailable
from carnet.core.job import JobState
from carnet.core.receipt import ExitClass


class ExitCode(IntEnum):
    """What the command's end says."""

    OK = 0
    JOB_FAILED = 1
    USAGE = 2
    DENIED = 3
    NOT_FOUND = 4
    UNAUTHENTICATED = 5
    UNAVAILABLE = 6
    FAULT = 70
    TIMED_OUT = 124
    INTERRUPTED = 130


BY_REASON: Final[dict[str, ExitCode]] = {
    "NOT_FOUND": ExitCode.NOT_FOUND,
    "CERT_INVALID": ExitCode.UNAUTHENTICATED,
    "CERT_REVOKED": ExitCode.UNAUTHENTICATED,
    "CLIENT_CERT_REQUIRED": ExitCode.UNAUTHENTICATED,
    "ROLE_REQUIRED": ExitCode.UNAUTHENTICATED,
    "SECOND_PERSON_REQUIRED": ExitCode.UNAUTHENTICATED,
    "TOKEN_AUDIENCE": ExitCode.UNAUTHENTICATED,
    "TOKEN_EXPIRED": ExitCode.UNAUTHENTICATED,
    "TOKEN_INVALID": ExitCode.UNAUTHENTICATED,
    "JOB_FAILED": ExitCode.JOB_FAILED,
    "JOB_NOT_CANCELLABLE": ExitCode.JOB_FAILED,
    "JOB_NOT_WAITING": ExitCode.JOB_FAILED,
    "LEASE_LOST": ExitCode.UNAVAILABLE,
    "NO_CAPACITY_IN_PERMITTED_JURISDICTION": ExitCode.UNAVAILABLE,
    "POLICY_REVISION_CHANGED": ExitCode.UNAVAILABLE,
    "QUOTA_EXCEEDED": ExitCode.UNAVAILABLE,
    "RECIPIENT_KEY_EXPIRED": ExitCode.UNAVAILABLE,
    "RUNNER_DRAINING": ExitCode.UNAVAILABLE,
}

BY_FAMILY: Final[tuple[tuple[type[CarnetError], ExitCode], ...]] = (
    (CallerError, ExitCode.USAGE),
    (PeerError, ExitCode.JOB_FAILED),
    (Refused, ExitCode.DENIED),
    (Unavailable, ExitCode.UNAVAILABLE),
    (Bug, ExitCode.FAULT),
    (CarnetError, ExitCode.FAULT),
)

BY_STATE: Final[dict[JobState, ExitCode]] = {
    JobState.SUCCEEDED: ExitCode.OK,
    JobState.FAILED: ExitCode.JOB_FAILED,
    JobState.CANCELLED: ExitCode.JOB_FAILED,
    JobState.DENIED: ExitCode.DENIED,
    JobState.EXPIRED: ExitCode.TIMED_OUT,
}


def exit_code(error: CarnetError) -> ExitCode:
    """The code for an error that ended the command."""
    if error.metadata.get("state") == JobState.EXPIRED:  # a job that ended with no receipt tells its state
        return ExitCode.TIMED_OUT
    by_family = next(code for family, code in BY_FAMILY if isinstance(error, family))
    return BY_REASON.get(error.reason, by_family)


def exit_of_class(exit_class: ExitClass) -> ExitCode:
    """The code for how an attempt ended, by its verified receipt."""
    match exit_class:
        case ExitClass.SUCCEEDED:
            return ExitCode.OK
        case ExitClass.TIMEOUT:
            return ExitCode.TIMED_OUT
        case _:
            return ExitCode.JOB_FAILED
