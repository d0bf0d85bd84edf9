"""Exit codes: one table, whole, and each error of the tree has its place in it."""

from collections.abc import Iterator

import pytest

from carnet.cli.exits import BY_REASON, BY_STATE, ExitCode, exit_code, exit_of_class
from carnet.core import errors
from carnet.core.errors import CarnetError
from carnet.core.job import JobState
from carnet.core.receipt import ExitClass


def descendants(family: type[CarnetError]) -> Iterator[type[CarnetError]]:
    for child in family.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from descendants(child)


ALL = tuple(descendants(CarnetError))


def test_the_codes_are_the_documented_ones() -> None:
    documented = {0, 1, 2, 3, 4, 5, 6, 124, 130}
    assert {int(code) for code in ExitCode} == documented | {ExitCode.FAULT}
    assert ExitCode.FAULT == 70


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_ends_with_a_code_that_is_no_success(kind: type[CarnetError]) -> None:
    assert exit_code(kind()) not in (ExitCode.OK, ExitCode.INTERRUPTED)


def test_the_table_names_only_reasons_that_exist() -> None:
    assert set(BY_REASON) <= {kind.reason for kind in ALL}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.FieldInvalid(), 2),
        (errors.EnvelopeMalformed(), 2),
        (errors.NotFound(), 4),
        (errors.PolicyDenied(), 3),
        (errors.NoPermittedJurisdiction(), 3),
        (errors.ApprovalRequired(), 3),
        (errors.ImageNotAllowed(), 3),
        (errors.TokenExpired(), 5),
        (errors.TokenAudience(), 5),
        (errors.CredentialInvalid(), 5),
        (errors.ClientCertificateRequired(), 5),
        (errors.RoleRequired(), 5),
        (errors.SignatureInvalid(), 1),
        (errors.ProofInvalid(), 1),
        (errors.JobFailed(), 1),
        (errors.JobNotCancellable(), 1),
        (errors.NoCapacity(), 6),
        (errors.GatewayUnavailable(), 6),
        (errors.PolicyEngineUnavailable(), 6),
        (errors.QuotaExceeded(), 6),
        (errors.IllegalTransition(), 70),
        (errors.JobFailed(metadata={"state": "expired"}), 124),
        (errors.JobFailed(metadata={"state": "cancelled"}), 1),
        (errors.PolicyDenied(metadata={"state": "denied"}), 3),
        (errors.NoCapacity(metadata={"state": "failed"}), 6),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, CarnetError) else str(value),
)
def test_an_error_ends_with_its_code(error: CarnetError, code: int) -> None:
    assert exit_code(error) == code


def test_every_end_of_a_job_has_a_code_and_only_success_is_0() -> None:
    assert set(BY_STATE) == {state for state in JobState if state.terminal}
    assert [state for state, code in BY_STATE.items() if code == 0] == [JobState.SUCCEEDED]
    assert [kind for kind in ExitClass if exit_of_class(kind) == 0] == [ExitClass.SUCCEEDED]
    assert exit_of_class(ExitClass.TIMEOUT) == 124
    assert exit_of_class(ExitClass.OOM) == 1
