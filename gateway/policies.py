"""The Policies service: what a compliance officer changes, and what is then in force. Rules of it stand elsewhere.

- Who may do what: `gateway/roles.py`. A revision's life: `gateway/revisions.py`. Exemptions: `gateway/exemptions.py`.
- A tenant sees its own revisions and exemptions only: another's is answered as one that is not there.
- Lists are newest first, in pages that only this gateway's tokens turn.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio

from carnet.core import limits
from carnet.core.errors import NotFound, PageTokenInvalid
from carnet.v1 import policies_pb2 as pb
from carnet.v1.policies_pb2_grpc import PoliciesServicer, add_PoliciesServicer_to_server
from gateway import validation
from gateway.composition import Composition
from gateway.exemptions import Exemptions
from gateway.identity import Caller, caller
from gateway.overlayfiles import files_of
from gateway.pages import PageTokens
from gateway.policymessages import (
    difference_message,
    exemption_key,
    exemption_message,
    report_message,
    revision_key,
    revision_message,
    rule_message,
)
from gateway.revisions import Activates, Revisions
from gateway.roles import Role, require
from gateway.storage import policyqueries
from gateway.storage.policyqueries import After
from gateway.storage.policyrecords import StoredExemption
from gateway.storage.store import Store

_READERS: Final = (Role.AUTHOR, Role.APPROVER, Role.COMPLIANCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the service works with; joined in services.py."""

    store: Store
    policy: Activates
    composition: Composition
    revisions: Revisions
    exemptions: Exemptions
    pages: PageTokens
    clock: Callable[[], int]


class Policies(PoliciesServicer):
    """What a compliance officer calls."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._revisions = parts.revisions
        self._exemptions = parts.exemptions

    def register(self, server: grpc.aio.Server) -> str:
        """Let a server answer for this service; the service's full name."""
        add_PoliciesServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["Policies"].full_name

    # --- revisions ---------------------------------------------------------------------------------------------------

    async def CreateRevision(self, request: pb.CreateRevisionRequest, context: Any) -> pb.Revision:  # noqa: ARG002, N802
        """A draft."""
        validation.check(request)
        draft = await self._revisions.create(
            caller(),
            request.overlay,
            files_of(request.files),
            comment=request.comment,
            request_id=request.request_id,
            validate_only=request.validate_only,
        )
        return revision_message(draft)

    async def CheckRevision(  # noqa: N802
        self,
        request: pb.CheckRevisionRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.CheckRevisionResponse:
        """What is wrong with a draft."""
        validation.check(request)
        return report_message(await self._revisions.check(caller(), revision_key(request.name)))

    async def ApproveRevision(self, request: pb.ApproveRevisionRequest, context: Any) -> pb.Revision:  # noqa: ARG002, N802
        """Another person's word for a draft."""
        validation.check(request)
        return revision_message(await self._revisions.approve(caller(), revision_key(request.name), request.request_id))

    async def ActivateRevision(self, request: pb.ActivateRevisionRequest, context: Any) -> pb.Revision:  # noqa: ARG002, N802
        """From now on it decides."""
        validation.check(request)
        return revision_message(
            await self._revisions.activate(caller(), revision_key(request.name), request.request_id)
        )

    async def ShadowRevision(self, request: pb.ShadowRevisionRequest, context: Any) -> pb.Revision:  # noqa: ARG002, N802
        """Beside the live one, or no more."""
        validation.check(request)
        return revision_message(
            await self._revisions.set_shadow(
                caller(), revision_key(request.name), request.request_id, shadow=request.shadow
            )
        )

    async def RollbackRevision(self, request: pb.RollbackRevisionRequest, context: Any) -> pb.Revision:  # noqa: ARG002, N802
        """Back to one that was active before, or to none."""
        validation.check(request)
        key = revision_key(request.name) if request.name else None
        return revision_message(await self._revisions.roll_back(caller(), key, request.request_id))

    async def GetRevision(self, request: pb.GetRevisionRequest, context: Any) -> pb.Revision:  # noqa: ARG002, N802
        """One revision, with its files."""
        validation.check(request)
        require(caller(), *_READERS)
        key = revision_key(request.name)
        return revision_message(await self._revisions.get(caller(), key), await self._revisions.files(caller(), key))

    async def ListRevisions(  # noqa: N802
        self,
        request: pb.ListRevisionsRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.ListRevisionsResponse:
        """The tenant's revisions."""
        validation.check(request)
        who, size = _reader(), _size(request.page_size)
        after = self._after(request.page_token, who, "R", id_bytes=32)
        found = await self._parts.store.read(policyqueries.revisions_of, who.tenant_id, after=after, limit=size)
        last = (found[-1].created_ns, found[-1].key.digest) if len(found) == size else None
        return pb.ListRevisionsResponse(
            revisions=[revision_message(revision) for revision in found], next_page_token=self._token(last, who, "R")
        )

    async def ListDifferences(  # noqa: N802
        self,
        request: pb.ListDifferencesRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.ListDifferencesResponse:
        """What a shadow said otherwise."""
        validation.check(request)
        who, size, key = _reader(), _size(request.page_size), revision_key(request.name)
        revision = await self._revisions.get(who, key)
        after = self._after(request.page_token, who, "D", id_bytes=32)
        found = await self._parts.store.read(policyqueries.differences_of, key, after=after, limit=size)
        last = (found[-1].time_ns, found[-1].decision) if len(found) == size else None
        return pb.ListDifferencesResponse(
            differences=[difference_message(difference) for difference in found],
            next_page_token=self._token(last, who, "D"),
            compared=revision.compared,
        )

    async def ListRules(self, request: pb.ListRulesRequest, context: Any) -> pb.ListRulesResponse:  # noqa: ARG002, N802
        """The rules that decide for the caller's tenant now: no other tenant's overlay is told."""
        overlay, bundle = self._parts.composition.overlay_of(caller().tenant_id), self._parts.policy.bundle
        heard = (rule for rule in bundle.catalogue() if rule.overlay in {"", overlay})
        now_ns = self._parts.clock()
        return pb.ListRulesResponse(rules=[rule_message(rule, now_ns=now_ns) for rule in heard], bundle=bundle.revision)

    # --- exemptions --------------------------------------------------------------------------------------------------

    async def CreateExemption(self, request: pb.CreateExemptionRequest, context: Any) -> pb.Exemption:  # noqa: ARG002, N802
        """A new one, which waits for its approvals."""
        validation.check(request)
        return self._exemption(await self._exemptions.ask(caller(), request))

    async def ApproveExemption(self, request: pb.ApproveExemptionRequest, context: Any) -> pb.Exemption:  # noqa: ARG002, N802
        """One person's approval."""
        validation.check(request)
        name = _own_exemption(request.name)
        return self._exemption(await self._exemptions.approve(caller(), name, request.request_id))

    async def RevokeExemption(self, request: pb.RevokeExemptionRequest, context: Any) -> pb.Exemption:  # noqa: ARG002, N802
        """The end of it."""
        validation.check(request)
        name = _own_exemption(request.name)
        return self._exemption(await self._exemptions.revoke(caller(), name, request.request_id))

    async def ListExemptions(  # noqa: N802
        self,
        request: pb.ListExemptionsRequest,
        context: Any,  # noqa: ARG002
    ) -> pb.ListExemptionsResponse:
        """The tenant's exemptions, whatever became of them."""
        validation.check(request)
        who, size = _reader(), _size(request.page_size)
        after = self._after(request.page_token, who, "E", id_bytes=16)
        found = await self._parts.store.read(policyqueries.exemptions_of, who.tenant_id, after=after, limit=size)
        last = (found[-1].created_ns, found[-1].exemption_id) if len(found) == size else None
        return pb.ListExemptionsResponse(
            exemptions=list(map(self._exemption, found)), next_page_token=self._token(last, who, "E")
        )

    def _exemption(self, exemption: StoredExemption) -> pb.Exemption:
        return exemption_message(exemption, now_ns=self._parts.clock())

    # A place begins with the letter of its list: a token of another one turns no page here.

    def _token(self, last: tuple[int, bytes] | None, who: Caller, letter: str) -> str:
        if last is None:
            return ""
        time_ns, name = last
        return self._parts.pages.token(letter.encode() + time_ns.to_bytes(8) + name, who.tenant_id)

    def _after(self, token: str, who: Caller, letter: str, *, id_bytes: int) -> After | None:
        if not token:
            return None
        place = self._parts.pages.place(token, who.tenant_id, size=9 + id_bytes)
        if place[:1] != letter.encode():
            raise PageTokenInvalid
        return After(time_ns=int.from_bytes(place[1:9]), id=place[9:])


def _reader() -> Caller:
    who = caller()
    require(who, *_READERS)
    return who


def _own_exemption(name: str) -> bytes:
    tenant_id, exemption_id = exemption_key(name)
    if tenant_id != caller().tenant_id:
        raise NotFound
    return exemption_id


def _size(asked: int) -> int:
    return min(asked or limits.page_size_default, limits.page_size_max)
