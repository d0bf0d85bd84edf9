"""Exemptions: a rule that does not bind a tenant's jobs, somewhere and for a while, because others answered for it.

- Only a rule whose METADATA says so is exemptible. It is asked for places, for 90 days at most, with a count of uses.
- Who asks never approves. From the quorum of distinct persons on it counts; a person counts once.
- It is never removed: what has expired, was revoked or is used up matches nothing, and stays for replay.
- A use is counted when a job is accepted under a decision that used it, in the job's own transaction. Submissions under
  way hold theirs under the tenant's lock, and let go when they come to nothing.

    async with exemptions.holding(key, body) as granted:
        ...                                             # the job's batch has `exemptions.counted(key, granted)`
"""

import asyncio
import hashlib
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from typing import Final

from carnet.core import limits
from carnet.core.decision import DecisionBody
from carnet.core.document import canonical
from carnet.core.errors import ExemptionGone, FieldInvalid, NotFound, NotReady, QuotaExceeded
from carnet.core.facts import PURPOSES, country_of
from carnet.v1 import policies_pb2 as pb
from carnet.wire import audit_entry
from gateway.identity import Caller
from gateway.requests import remember_request
from gateway.roles import Role, check_other, person_digest, person_of, require
from gateway.storage import policyqueries
from gateway.storage.operations import Batch, Operation
from gateway.storage.policyoperations import ApproveExemption, InsertExemption, RevokeExemption, UseExemptions
from gateway.storage.policyrecords import ExemptionState, Person, StoredExemption
from gateway.storage.records import JobKey, NewEntry
from gateway.storage.store import Store
from policy.bundle import Bundle
from policy.engine import GrantedExemption

_SECOND: Final = 10**9


class Exemptions:
    """The exemptions of one gateway process. `live` is the bundle that decides now."""

    def __init__(self, store: Store, *, live: Callable[[], Bundle], quorum: int, clock: Callable[[], int]) -> None:
        self._store = store
        self._live = live
        self._quorum = quorum
        self._clock = clock
        self._turns: defaultdict[bytes, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._held: dict[object, tuple[JobKey, frozenset[str]]] = {}

    async def ask(self, caller: Caller, request: pb.CreateExemptionRequest) -> StoredExemption:
        """A new one, which waits for its approvals. Raises `RoleRequired`, `FieldInvalid` or `QuotaExceeded`."""
        require(caller, Role.AUTHOR)
        asked = self._asked(caller, request)
        async with self._turns[caller.tenant_id]:
            if len(await self.granted(caller.tenant_id)) >= limits.exemptions_max:
                raise QuotaExceeded("The tenant has as many exemptions as it may.", metadata={"quota": "exemptions"})
            remember = remember_request(
                caller,
                request.request_id,
                exemption_scope(asked),
                now_ns=asked.created_ns,
                response=asked.exemption_id,
            )
            before = await self._write(caller, "exemption.asked", asked, remember, InsertExemption(exemption=asked))
        return await self.get(caller.tenant_id, before or asked.exemption_id)

    async def approve(self, caller: Caller, exemption_id: bytes, request_id: str) -> StoredExemption:
        """One person's approval. Raises `RoleRequired`, `SecondPersonRequired`, `NotReady` or `NotFound`."""
        require(caller, Role.APPROVER)
        person, now_ns = person_of(caller), self._clock()
        async with self._turns[caller.tenant_id]:
            found = await self.get(caller.tenant_id, exemption_id)
            check_other(person, found.requester)
            if person in found.approvers:
                return found
            if found.state_at(now_ns) is not ExemptionState.ASKED:
                raise NotReady("The exemption does not wait for approvals.", metadata={"state": found.state_at(now_ns)})
            await self._write(
                caller,
                "exemption.approved",
                found,
                remember_request(caller, request_id, exemption_id, now_ns=now_ns),
                ApproveExemption(tenant_id=found.tenant_id, exemption_id=exemption_id, person=person, time_ns=now_ns),
            )
            return await self.get(caller.tenant_id, exemption_id)

    async def revoke(self, caller: Caller, exemption_id: bytes, request_id: str) -> StoredExemption:
        """The end of it, for all that is not dispatched yet. Raises `RoleRequired` or `NotFound`."""
        require(caller, Role.AUTHOR, Role.APPROVER)
        async with self._turns[caller.tenant_id]:
            found = await self.get(caller.tenant_id, exemption_id)
            if found.state is ExemptionState.REVOKED:
                return found
            await self._write(
                caller,
                "exemption.revoked",
                found,
                remember_request(caller, request_id, exemption_id, now_ns=self._clock()),
                RevokeExemption(tenant_id=found.tenant_id, exemption_id=exemption_id),
            )
            return await self.get(caller.tenant_id, exemption_id)

    async def get(self, tenant_id: bytes, exemption_id: bytes) -> StoredExemption:
        """One of a tenant's. Raises `NotFound`."""
        found = await self._store.read(policyqueries.exemption, tenant_id, exemption_id)
        if found is None:
            raise NotFound
        return found

    async def granted(self, tenant_id: bytes) -> tuple[StoredExemption, ...]:
        """Those that count now."""
        return await self._store.read(policyqueries.exemptions_granted, tenant_id, now_ns=self._clock())

    @asynccontextmanager
    async def holding(self, key: JobKey, body: DecisionBody) -> AsyncIterator[tuple[StoredExemption, ...]]:
        """Hold a use of each exemption that a decision used, as long as the block lasts. Raises `ExemptionGone`."""
        names = frozenset(used.id for used in body.exemptions_used)
        if not names:
            yield ()
            return
        async with self._turns[key.tenant_id]:
            found = await self._usable(key, names)
            token = object()
            self._held[token] = (key, names)
        try:
            yield found
        finally:
            del self._held[token]

    def counted(self, key: JobKey, held: tuple[StoredExemption, ...]) -> tuple[Operation, ...]:
        """The operation that counts what is held, for the batch that accepts the job."""
        if not held:
            return ()
        names = tuple(exemption.exemption_id for exemption in held)
        return (UseExemptions(key=key, exemption_ids=names, time_ns=self._clock()),)

    def leaves(self, key: JobKey, held: tuple[StoredExemption, ...]) -> tuple[NewEntry, ...]:
        """The leaves that go with it."""
        return tuple(
            _leaf("exemption.used", exemption, time_ns=self._clock(), key=key, person=exemption.requester)
            for exemption in held
        )

    async def _usable(self, key: JobKey, names: frozenset[str]) -> tuple[StoredExemption, ...]:
        # What is held is looked at first: a job that is accepted meanwhile counts twice for a moment, and never not.
        held = [name for other, names_held in self._held.values() if other != key for name in names_held]
        counted = {e.exemption_id.hex(): e for e in await self._store.read(policyqueries.exemptions_used, key)}
        granted = {e.exemption_id.hex(): e for e in await self.granted(key.tenant_id)}
        found = []
        for name in sorted(names):
            mine, exemption = counted.get(name), granted.get(name)
            if mine is not None and mine.state is ExemptionState.APPROVED and self._clock() < mine.expires_ns:
                found.append(mine)
            elif exemption is not None and exemption.uses + held.count(name) < exemption.uses_max:
                found.append(exemption)
            else:
                raise ExemptionGone(metadata={"exemption": name})
        return tuple(found)

    def _asked(self, caller: Caller, request: pb.CreateExemptionRequest) -> StoredExemption:
        now_ns = self._clock()
        self._check_rule(request.rule)
        bundle = self._live()
        _check_known("places", {country_of(place) for place in request.places}, bundle.rows("jurisdictions").keys())
        _check_known("classes", set(request.classes), bundle.rows("classes").keys())
        _check_known("purposes", set(request.purposes), PURPOSES)
        if not now_ns < request.expires_ns <= now_ns + limits.exemption_seconds_max * _SECOND:
            raise FieldInvalid("An exemption ends within 90 days.", metadata={"field": "expires_ns"})
        asked = StoredExemption(
            tenant_id=caller.tenant_id,
            exemption_id=secrets.token_bytes(16),
            rule=request.rule,
            places=_sorted(request.places),
            classes=_sorted(request.classes),
            purposes=_sorted(request.purposes),
            reason=request.reason,
            ticket=request.ticket,
            requester=person_of(caller),
            quorum=self._quorum,
            created_ns=now_ns,
            expires_ns=request.expires_ns,
            uses_max=request.uses_max,
        )
        if len(canonical(granted_of(asked).document())) > limits.exemption_bytes_max:
            raise FieldInvalid("The exemption's scope is too long.", metadata={"field": "places"})
        return asked

    def _check_rule(self, name: str) -> None:
        rules = {rule.id: rule for rule in self._live().catalogue()}
        rule = rules.get(name)
        if rule is None:
            raise FieldInvalid(f"There is no rule {name}.", metadata={"field": "rule"})
        if not rule.exemptible or rule.stage != "job" or rule.effect != "deny":
            raise FieldInvalid(f"Nobody is exempt from {name}.", metadata={"field": "rule"})

    async def _write(
        self, caller: Caller, kind: str, exemption: StoredExemption, *operations: Operation
    ) -> bytes | None:
        leaf = _leaf(kind, exemption, time_ns=self._clock(), key=None, person=person_of(caller))
        written = await self._store.write(Batch(operations=operations, entries=(leaf,)))
        return written.response


def granted_of(exemption: StoredExemption) -> GrantedExemption:
    """The exemption as policy hears of it."""
    return GrantedExemption(
        id=exemption.exemption_id.hex(),
        rule=exemption.rule,
        places=exemption.places,
        classes=exemption.classes,
        purposes=exemption.purposes,
        expires_ns=exemption.expires_ns,
    )


def exemption_scope(exemption: StoredExemption) -> bytes:
    """What was asked for, as canonical bytes: equal for two that ask for the same."""
    return canonical(
        {
            "schema": "carnet.exemption/v1",
            "tenant": exemption.tenant_id.hex(),
            "rule": exemption.rule,
            "places": [*exemption.places],
            "classes": [*exemption.classes],
            "purposes": [*exemption.purposes],
            "reason": exemption.reason,
            "ticket": exemption.ticket,
            "expires_ns": exemption.expires_ns,
            "uses_max": exemption.uses_max,
            "quorum": exemption.quorum,
        }
    )


def _leaf(kind: str, exemption: StoredExemption, *, time_ns: int, key: JobKey | None, person: Person) -> NewEntry:
    digest = hashlib.sha256(exemption.exemption_id + exemption_scope(exemption)).digest()
    entry = audit_entry(
        kind,
        time_ns=time_ns,
        tenant_id=exemption.tenant_id,
        job_id=key.job_id if key is not None else b"",
        exemption=digest,
        person=person_digest(person),
    )
    return NewEntry(kind=kind, data=entry.to_bytes(), key=key, subject=digest)


def _check_known(field: str, asked: set[str], known: Collection[str]) -> None:
    if unknown := sorted(asked.difference(known)):
        raise FieldInvalid(f"Nothing here is called {unknown[0]}.", metadata={"field": field})


def _sorted(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(items)))
