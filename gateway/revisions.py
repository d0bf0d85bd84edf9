"""Revisions: the life of a tenant's overlay, from a draft to what decides, and back.

- A revision is its files; their digest is its name, so what was looked at is what is activated. It is DRAFT, APPROVED
  (checked clean, by another person than the author), ACTIVE (again not by the author), RETIRED (it was active before).
- One of a tenant is active at a time. A bundle is live before it is written down; where that fails, what is stored
  decides again.
- The first tenant to use an overlay's name has it.
- Each change is a row, and a leaf that names revision, bundle and person by digest.

    revision = await revisions.activate(caller, key, request_id)
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from carnet.core.errors import CarnetError, NotFound, NotReady, OverlayTaken, PolicyTestsFailed, RequestIdReused
from carnet.core.overlay import overlay_digest
from carnet.wire import audit_entry
from gateway.composition import Composition
from gateway.identity import Caller
from gateway.overlayfiles import packed, unpacked
from gateway.requests import done_before, remember_request
from gateway.roles import Role, check_other, person_digest, person_of, require
from gateway.shadow import Shadow
from gateway.storage import policyqueries
from gateway.storage.operations import Batch, Operation
from gateway.storage.policyoperations import InsertRevision, UpdateRevision
from gateway.storage.policyrecords import RevisionKey, RevisionState, StoredRevision
from gateway.storage.records import NewEntry
from gateway.storage.store import Store
from gateway.whole import whole
from policy import checking
from policy.bundle import Bundle
from policy.checking import Report
from policy.overlay import Overlay


class Activates(Protocol):
    """What runs the bundle that is live."""

    @property
    def bundle(self) -> Bundle:
        """The bundle that is live."""

    async def activate(self, bundle: Bundle) -> None:
        """Make a bundle live. Raises `PolicyEngineUnavailable`, and then nothing changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What revisions work with; joined in parts.py. `opa` and `regal` look at drafts, where there are any."""

    store: Store
    policy: Activates
    composition: Composition
    shadow: Shadow
    opa: Path | None
    regal: Path | None
    clock: Callable[[], int]


class Revisions:
    """The revisions of one gateway process."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._turn = asyncio.Lock()
        self._checking = asyncio.Lock()

    async def create(
        self,
        caller: Caller,
        overlay: str,
        files: Mapping[str, bytes],
        *,
        comment: str,
        request_id: str,
        validate_only: bool,
    ) -> StoredRevision:
        """A draft; the same files again are the same revision. Raises `RoleRequired` or `OverlayTaken`."""
        require(caller, Role.AUTHOR)
        key = RevisionKey(tenant_id=caller.tenant_id, digest=overlay_digest(overlay, files))
        found = await self._parts.store.read(policyqueries.revision, key)
        if found is not None:
            return found
        if await self._parts.store.read(policyqueries.owner, overlay) not in (None, caller.tenant_id):
            raise OverlayTaken(metadata={"overlay": overlay})
        draft = StoredRevision(
            key=key, overlay=overlay, author=person_of(caller), created_ns=self._parts.clock(), comment=comment
        )
        if not validate_only:
            insert = InsertRevision(revision=draft, files=packed(files))
            await self._write(caller, "policy.created", request_id, key, insert, asked=key)
        return draft

    async def get(self, caller: Caller, key: RevisionKey) -> StoredRevision:
        """One of the tenant's. Raises `NotFound`."""
        found = await self._parts.store.read(policyqueries.revision, key) if key.tenant_id == caller.tenant_id else None
        if found is None:
            raise NotFound
        return found

    async def files(self, caller: Caller, key: RevisionKey) -> dict[str, bytes]:
        """Its files. Raises `NotFound`."""
        await self.get(caller, key)
        found = await self._parts.store.read(policyqueries.files, key)
        if found is None:
            raise NotFound(detail="a revision without its files")
        return unpacked(found)

    async def check(self, caller: Caller, key: RevisionKey) -> Report:
        """Look at a revision, beside the rules of all. Raises `RoleRequired` or `NotFound`."""
        require(caller, Role.AUTHOR, Role.APPROVER)
        revision, files = await self.get(caller, key), await self.files(caller, key)
        # One at a time: it starts programs.
        async with self._checking:
            return await asyncio.to_thread(
                checking.check,
                revision.overlay,
                files,
                base=self._parts.composition.base,
                binary=self._parts.opa,
                linter=self._parts.regal,
            )

    async def approve(self, caller: Caller, key: RevisionKey, request_id: str) -> StoredRevision:
        """Raises `RoleRequired`, `SecondPersonRequired`, `NotReady` or `PolicyTestsFailed`."""
        require(caller, Role.APPROVER)
        revision = await self.get(caller, key)
        check_other(person_of(caller), revision.author)
        if await self._done(caller, "policy.approved", request_id, key) is not None:
            return revision
        _expect(revision, RevisionState.DRAFT)
        report = await self.check(caller, key)
        if not report.clean:
            first = report.findings[0] if report.findings else None
            text = f"{first.check}: {first.text}" if first else "Not everything was looked at."
            raise PolicyTestsFailed(text, metadata={"findings": str(len(report.findings))})
        approved = replace(
            revision, state=RevisionState.APPROVED, approver=person_of(caller), approved_ns=self._parts.clock()
        )
        await self._write(caller, "policy.approved", request_id, key, UpdateRevision(revision=approved), asked=key)
        return await self.get(caller, key)

    async def activate(self, caller: Caller, key: RevisionKey, request_id: str) -> StoredRevision:
        """Raises `RoleRequired`, `SecondPersonRequired`, `NotReady` or `PolicyEngineUnavailable`."""
        require(caller, Role.APPROVER)
        async with self._turn:
            revision = await self.get(caller, key)
            check_other(person_of(caller), revision.author)
            if await self._done(caller, "policy.activated", request_id, key) is not None:
                return revision
            _expect(revision, RevisionState.APPROVED)
            await whole(self._switch(caller, revision, "policy.activated", request_id))
            return await self.get(caller, key)

    async def roll_back(self, caller: Caller, key: RevisionKey | None, request_id: str) -> StoredRevision:
        """Back to a revision that was active before, or to no overlay at all: then the one that was left.

        Raises like `activate`.
        """
        require(caller, Role.APPROVER)
        async with self._turn:
            current = await self._active(caller.tenant_id)
            revision = await self.get(caller, key) if key is not None else None
            if revision is not None:
                check_other(person_of(caller), revision.author)
            left = await self._done(caller, "policy.rolledback", request_id, key)
            if left is not None:
                return await self.get(caller, left)
            if revision is not None:
                _expect(revision, RevisionState.RETIRED)
            if revision is None and current is None:
                raise NotReady("There is nothing to go back from.")
            await whole(self._switch(caller, revision, "policy.rolledback", request_id))
            named = revision or current
            assert named is not None
            return await self.get(caller, named.key)

    async def set_shadow(self, caller: Caller, key: RevisionKey, request_id: str, *, shadow: bool) -> StoredRevision:
        """Ask a revision beside the live one, or no more; a tenant has one shadow.

        Raises `RoleRequired`, `NotFound`, or `FieldInvalid` where its files are no overlay.
        """
        require(caller, Role.AUTHOR)
        async with self._turn:
            revision = await self.get(caller, key)
            if revision.shadow == shadow:
                return revision
            others = await self._shadows(caller.tenant_id) if shadow else ()
            changed = [replace(revision, shadow=shadow), *(replace(other, shadow=False) for other in others)]
            overlay = await self._parts.composition.read(revision) if shadow else None
            await self._parts.shadow.follow(key, overlay)
            operations = (UpdateRevision(revision=found) for found in changed)
            await self._write(caller, "policy.shadowed", request_id, key, *operations, asked=key)
            return await self.get(caller, key)

    async def _switch(self, caller: Caller, revision: StoredRevision | None, kind: str, request_id: str) -> None:
        tenant_id, parts = caller.tenant_id, self._parts
        current = await self._active(tenant_id)
        overlay = await parts.composition.read(revision) if revision is not None else None
        bundle, before = await parts.composition.changed(tenant_id, overlay), parts.policy.bundle
        await parts.policy.activate(bundle)
        left = parts.composition.adopt(tenant_id, overlay)
        try:
            await self._record(caller, kind, request_id, bundle, revision=revision, current=current)
        except CarnetError:
            await self._back(tenant_id, left, before)
            raise

    async def _record(
        self,
        caller: Caller,
        kind: str,
        request_id: str,
        bundle: Bundle,
        *,
        revision: StoredRevision | None,
        current: StoredRevision | None,
    ) -> None:
        operations: list[Operation] = []
        if current is not None:
            operations.append(UpdateRevision(revision=replace(current, state=RevisionState.RETIRED)))
        if revision is not None:
            active = replace(
                revision,
                state=RevisionState.ACTIVE,
                activator=person_of(caller),
                activated_ns=self._parts.clock(),
                bundle=bundle.revision,
            )
            operations.append(UpdateRevision(revision=active))
        named = revision or current
        assert named is not None
        await self._write(
            caller,
            kind,
            request_id,
            named.key,
            *operations,
            asked=revision.key if revision is not None else None,
            bundle=bytes.fromhex(bundle.revision.split(":")[1]),
        )

    async def _back(self, tenant_id: bytes, overlay: Overlay | None, bundle: Bundle) -> None:
        """What is stored decides; where not even that can be read, what decided before."""
        self._parts.composition.adopt(tenant_id, overlay)
        try:
            bundle = await self._parts.composition.restore()
        finally:
            await self._parts.policy.activate(bundle)

    async def _active(self, tenant_id: bytes) -> StoredRevision | None:
        deciding = await self._parts.store.read(policyqueries.revisions_deciding)
        mine = (r for r in deciding if r.key.tenant_id == tenant_id and r.state is RevisionState.ACTIVE)
        return next(mine, None)

    async def _shadows(self, tenant_id: bytes) -> tuple[StoredRevision, ...]:
        deciding = await self._parts.store.read(policyqueries.revisions_deciding)
        return tuple(r for r in deciding if r.key.tenant_id == tenant_id and r.shadow)

    async def _done(self, caller: Caller, kind: str, request_id: str, asked: RevisionKey | None) -> RevisionKey | None:
        """The revision that this very request was about, where it was done before."""
        found = await done_before(self._parts.store, caller, request_id, _body(caller, kind, asked))
        return None if found is None else RevisionKey(tenant_id=caller.tenant_id, digest=found)

    async def _write(
        self,
        caller: Caller,
        kind: str,
        request_id: str,
        key: RevisionKey,
        *operations: Operation,
        asked: RevisionKey | None,
        **digests: bytes,
    ) -> None:
        now_ns = self._parts.clock()
        entry = audit_entry(
            kind,
            time_ns=now_ns,
            tenant_id=key.tenant_id,
            job_id=b"",
            revision=key.digest,
            person=person_digest(person_of(caller)),
            **digests,
        )
        remember = remember_request(caller, request_id, _body(caller, kind, asked), now_ns=now_ns, response=key.digest)
        leaf = NewEntry(kind=kind, data=entry.to_bytes(), subject=key.digest)
        written = await self._parts.store.write(Batch(operations=(remember, *operations), entries=(leaf,)))
        if not written.applied:
            # It was done before, and much may have happened since: nothing is done now.
            raise RequestIdReused


def _expect(revision: StoredRevision, state: RevisionState) -> None:
    if revision.state is not state:
        raise NotReady(f"The revision is {revision.state}, not {state}.", metadata={"state": revision.state})


def _body(caller: Caller, kind: str, asked: RevisionKey | None) -> bytes:
    named = asked.digest if asked is not None else b""
    return kind.encode() + named + person_digest(person_of(caller))
