"""Errors: one tree by blame, a reason and a sentence each, and reasons that never collide."""

from collections import Counter

import pytest

from carnet.core.errors import (
    Bug,
    CallerError,
    CarnetError,
    FactsMismatch,
    FieldInvalid,
    PeerError,
    PolicyDenied,
    Refused,
    StoreUnavailable,
    Unavailable,
)

FAMILIES = (CallerError, PeerError, Refused, Unavailable, Bug)


def leaves(kind: type[CarnetError]) -> list[type[CarnetError]]:
    return [leaf for child in kind.__subclasses__() for leaf in (child, *leaves(child))]


# Roles derive errors of their own, which keep the reason of what they are a kind of.
LEAVES = [leaf for family in FAMILIES for leaf in leaves(family) if leaf.__module__ == CarnetError.__module__]


def test_the_families_are_the_whole_tree() -> None:
    ours = [kind for kind in CarnetError.__subclasses__() if kind.__module__ == CarnetError.__module__]
    assert set(ours) == set(FAMILIES)


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_each_error_has_a_reason_and_a_sentence(kind: type[CarnetError]) -> None:
    error = kind()
    assert "reason" in vars(kind)
    assert error.reason == error.reason.upper()
    assert error.text.endswith(".")
    assert str(error) == error.text
    assert (error.detail, error.metadata) == ("", {})


def test_no_two_errors_share_a_reason() -> None:
    assert [reason for reason, count in Counter(kind.reason for kind in LEAVES).items() if count > 1] == []


def test_the_operators_detail_is_not_in_the_clients_text() -> None:
    error = FactsMismatch(detail="internal detail", metadata={"field": "image"})
    assert "internal" not in str(error) + error.text
    assert (error.detail, error.metadata) == ("internal detail", {"field": "image"})


def test_metadata_is_a_copy() -> None:
    given = {"field": "a"}
    error = FieldInvalid("a is missing", metadata=given)
    given["field"] = "b"
    assert error.metadata == {"field": "a"}


@pytest.mark.parametrize(
    ("error", "family"), [(FieldInvalid, CallerError), (PolicyDenied, Refused), (StoreUnavailable, Unavailable)]
)
def test_an_error_belongs_to_one_family(error: type[CarnetError], family: type[CarnetError]) -> None:
    assert [kind for kind in FAMILIES if issubclass(error, kind)] == [family]
