"""Standing: what the gateway tells policy of a caller, their tenant, and a job that was handed in.

- When a job is prepared, its tenant's overlay and every exemption that counts now go along.
- Caller, exporter and end user are screened where the gateway has results to screen them by, when a job is prepared
  and again before each dispatch; where it has none, nobody is, and decisions say so.
- A job that was handed in keeps what was said of its caller and of what they had sent before, but for screening. Its
  exemptions are those that were counted for it, less what was revoked since; its approvals are those of this very job.
  The overlay is the one of now: rules are of today, facts of their day.

    requester = await standing.of(caller, facts, volumes=volumes)
"""

from collections.abc import Callable
from dataclasses import replace

from carnet.core.facts import JobFacts
from gateway.exemptions import Exemptions, granted_of
from gateway.identity import Caller
from gateway.screening import Screens
from gateway.storage import policyqueries
from gateway.storage.policyrecords import ExemptionState, StoredExemption
from gateway.storage.records import JobKey
from gateway.storage.store import Store
from policy.engine import GatewayFacts, GrantedExemption, Screening, Volume


class Standing:
    """Speaks to policy for one gateway process. `overlay_of` names the live overlay of a tenant, or nothing."""

    def __init__(
        self,
        store: Store,
        exemptions: Exemptions,
        *,
        overlay_of: Callable[[bytes], str],
        screens: Screens | None = None,
    ) -> None:
        self._store = store
        self._exemptions = exemptions
        self._overlay_of = overlay_of
        self._screens = screens

    @property
    def screened_by(self) -> str:
        """The results that count now; another value means that they changed."""
        return self._screens.digest if self._screens is not None else ""

    async def of(
        self, caller: Caller, facts: JobFacts, *, volumes: tuple[Volume, ...] = (), job: JobKey | None = None
    ) -> GatewayFacts:
        """For a job that is prepared; with the approvals of one that waits."""
        granted = await self._exemptions.granted(caller.tenant_id)
        approvals = 0 if job is None else await self._store.read(policyqueries.approvals, job)
        exemptions = tuple(map(granted_of, granted))
        return self.told(caller, facts, volumes=volumes, exemptions=exemptions, approvals=approvals)

    def told(
        self,
        caller: Caller,
        facts: JobFacts,
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
            screening=self._screened(caller.subject, facts),
            screened_by=self.screened_by,
            volumes=volumes,
            overlay=self._overlay_of(caller.tenant_id),
            exemptions=exemptions,
            approvals=approvals,
        )

    async def now(
        self, key: JobKey, requester: GatewayFacts, facts: JobFacts, *, held: tuple[StoredExemption, ...] = ()
    ) -> GatewayFacts:
        """For a job that was handed in with these facts, when it is dispatched or renewed; `held` are counted soon."""
        counted = {e.exemption_id: e for e in (*await self._store.read(policyqueries.exemptions_used, key), *held)}
        return replace(
            requester,
            screening=self._screened(requester.subject, facts),
            screened_by=self.screened_by,
            overlay=self._overlay_of(key.tenant_id),
            exemptions=tuple(granted_of(e) for e in counted.values() if e.state is not ExemptionState.REVOKED),
            approvals=await self._store.read(policyqueries.approvals, key),
        )

    def _screened(self, subject: str, facts: JobFacts) -> Screening:
        if self._screens is None:
            return Screening.OFF
        return self._screens.word(subject=subject, entities=(facts.controller.entity, facts.end_user.entity))
