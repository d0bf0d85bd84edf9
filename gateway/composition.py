"""Composition: the bundle that decides, put together from the rules of all and every tenant's active overlay.

- The overlays are read from the very files that were stored and approved; after a start they are read again.
- Whose overlay is whose is here too: a tenant's jobs are decided with its own, by name, and with nobody else's.

    composition = Composition(store, base)
    bundle = await composition.restore()
"""

import asyncio
from collections.abc import Mapping

from carnet.core.errors import NotFound
from gateway.overlayfiles import unpacked
from gateway.storage import policyqueries
from gateway.storage.policyrecords import RevisionState, StoredRevision
from gateway.storage.store import Store
from policy.bundle import Bundle
from policy.overlay import Overlay


class Composition:
    """The active overlays of one gateway process. `base` are the rules of all."""

    def __init__(self, store: Store, base: Bundle) -> None:
        self._store = store
        self.base = base
        self._active: dict[bytes, Overlay] = {}

    def overlay_of(self, tenant_id: bytes) -> str:
        """The name of the overlay that decides for a tenant, or nothing."""
        found = self._active.get(tenant_id)
        return found.name if found is not None else ""

    async def restore(self) -> Bundle:
        """What is stored as active is what decides. Raises `FieldInvalid` where it does not fit the rules of now."""
        stored = await self._store.read(policyqueries.revisions_deciding)
        active = [revision for revision in stored if revision.state is RevisionState.ACTIVE]
        found = {revision.key.tenant_id: await self.read(revision) for revision in active}
        bundle = await self._composed(found)
        self._active = found
        return bundle

    async def read(self, revision: StoredRevision) -> Overlay:
        """The overlay of a revision. Raises `FieldInvalid` where it is none."""
        files = await self._store.read(policyqueries.files, revision.key)
        if files is None:
            raise NotFound(detail="a revision without its files")
        return await asyncio.to_thread(Overlay.read, revision.overlay, unpacked(files))

    async def changed(self, tenant_id: bytes, overlay: Overlay | None) -> Bundle:
        """What would decide with another overlay of this tenant, or with none. Raises `FieldInvalid`."""
        others = {tenant: active for tenant, active in self._active.items() if tenant != tenant_id}
        return await self._composed(others if overlay is None else {**others, tenant_id: overlay})

    def adopt(self, tenant_id: bytes, overlay: Overlay | None) -> Overlay | None:
        """From now on a tenant's jobs are decided with this overlay, or with none; the one before."""
        before = self._active.pop(tenant_id, None)
        if overlay is not None:
            self._active[tenant_id] = overlay
        return before

    async def _composed(self, active: Mapping[bytes, Overlay]) -> Bundle:
        overlays = [active[tenant_id] for tenant_id in sorted(active)]
        return await asyncio.to_thread(self.base.with_overlays, overlays) if overlays else self.base
