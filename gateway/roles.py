"""Roles: what a token lets its subject do for the tenant, and that some steps take two persons.

- A role lets somebody try; it never lets them pass their own work, whatever roles they have.
- A person is an issuer and a subject, by the token: another client or certificate of theirs makes nobody else of them.
- Reading the rules that decide for the own tenant takes no role; all else of policy does.

    require(caller, Role.APPROVER)
    check_other(person_of(caller), revision.author)
"""

import hashlib
from enum import StrEnum

from carnet.core.document import canonical
from carnet.core.errors import RoleRequired, SecondPersonRequired
from gateway.identity import Caller
from gateway.storage.policyrecords import Person


class Role(StrEnum):
    """The roles of a token that say something here."""

    AUTHOR = "policy.author"
    APPROVER = "policy.approver"
    JOB_APPROVER = "job.approver"
    COMPLIANCE = "compliance"


def require(caller: Caller, *roles: Role) -> None:
    """Raise `RoleRequired` unless the caller's token has one of these."""
    if not set(roles) & set(caller.roles):
        raise RoleRequired(metadata={"role": " or ".join(roles)})


def person_of(caller: Caller) -> Person:
    """Who calls."""
    return Person(issuer=caller.issuer, subject=caller.subject)


def check_other(person: Person, *own: Person | None) -> None:
    """Raise `SecondPersonRequired` where this person is one of those whose work it is."""
    if person in own:
        raise SecondPersonRequired


def person_digest(person: Person) -> bytes:
    """SHA-256 over the person's canonical document: how the log names somebody."""
    document = canonical({"schema": "carnet.person/v1", "issuer": person.issuer, "subject": person.subject})
    return hashlib.sha256(document).digest()
