"""Standing: what the gateway tells policy of a caller, their tenant, and a job that was handed in.

- When a job is prepared, its tenant's overlay and every exemption that counts now go along. Nobody is screened here,
  and decisions say so.
- A job that was handed in keeps what was said of its caller and of what they had sent before. Its exemptions are those
  that were counted for it, less what was revoked since; its approvals are those of this very job. The overlay is the
  one of now: rules are of today, facts of their day.

    requester = await standing.of(caller, volumes=volumes)
"""

from collections.abc import Callable
from dataclasses import replace

from gateway.exemptions import Exemptions, granted_of
from gateway.identity import Caller
from gateway.storage import policyqueries
from gateway.storage.policyrecords import ExemptionState, StoredExemption
from gateway.storage.records import JobKey
from gateway.storage.store import Store
from policy.engine import GatewayFacts, GrantedExemption, Screening, Volume


class Standing:
    """Speaks to policy for one gateway process. `overlay_of` names the live overlay of a tenant, or nothing."""

    def __init__(self, store: Store, exemptions: Exemptions, *, overlay_of: Callable[[bytes], str]) -> None:
        self._store = store
        self._exemptions = exemptions
        self._overlay_of = overlay_of

    async def of(self, caller: Caller, *, volumes: tuple[Volume, ...] = (), job: JobKey | None = None) -> GatewayFacts:
        """For a job that is prepared; with the approvals of one that waits."""
        granted = await self._exemptions.granted(caller.tenant_id)
        approvals = 0 if job is None else await self._store.read(policyqueries.approvals, job)
        exemptions = tuple(map(granted_of, granted))
        return self.told(caller, volumes=volumes, exemptions=exemptions, approvals=approvals)

    def told(
        self,
        caller: Caller,
        *,
        volumes: tuple[Volume, ...] = (),
        exemptions: tuple[GrantedExemption, ...] = (),
        approvals: int = 0,
    ) -> GatewayFacts:
        """The facts, from what was found."""
        return GatewayFacts(
            issuer=caller.issuer,
            subject=caller.subject,
            tenant=caller.tenant_id.hex(),
            roles=tuple(sorted(caller.roles)),
            screening=Screening.OFF,
            volumes=volumes,
            overlay=self._overlay_of(caller.tenant_id),
            exemptions=exemptions,
            approvals=approvals,
        )

    async def now(
        self, key: JobKey, requester: GatewayFacts, *, held: tuple[StoredExemption, ...] = ()
    ) -> GatewayFacts:
        """For a job that was handed in with these facts, when it is dispatched or renewed; `held` are counted soon."""
        counted = {e.exemption_id: e for e in (*await self._store.read(policyqueries.exemptions_used, key), *held)}
        return replace(
            requester,
            overlay=self._overlay_of(key.tenant_id),
            exemptions=tuple(granted_of(e) for e in counted.values() if e.state is not ExemptionState.REVOKED),
            approvals=await self._store.read(policyqueries.approvals, key),
        )
