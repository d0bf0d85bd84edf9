"""The SDK of who changes policy: revisions of the own overlay, exemptions, and the rules in force.

- All of it is the gateway's word. What was done is proven by the decisions that follow: they name the bundle that
  decided, the rules, and the exemptions that they used (`carnet/officer.py`).
- Roles in the token decide what works: policy.author, policy.approver. Nobody passes their own work.
- Files that come back are held against the revision's name.

    async with PolicyOfficer(load_context(path)) as officer:
        draft = await officer.submit("klinikum", files, comment="Genetic data stays in the EEA.")
        report = await officer.check(draft.name)
"""

import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from carnet.core.errors import StatementInvalid
from carnet.officer import Officer, unary_seconds
from carnet.policyanswers import (
    Difference,
    Exemption,
    Report,
    Revision,
    RevisionState,
    RuleInForce,
    Wanted,
    check_files,
    difference_of,
    exemption_of,
    revision_of,
    rule_of,
)
from carnet.rpc import calling, reading, strict
from carnet.v1 import policies_pb2 as pb
from carnet.v1.policies_pb2_grpc import PoliciesStub

if TYPE_CHECKING:
    from carnet.v1.policies_pb2_grpc import PoliciesAsyncStub  # in the stubs only

# Drafts are tested, and engines started, before an answer comes.
work_seconds: Final = 240.0
page_size: Final = 100


class PolicyOfficer(Officer):
    """One tenant's author or approver of policy at one gateway. Use it in `async with`."""

    async def submit(
        self, overlay: str, files: Mapping[str, bytes], *, comment: str = "", validate_only: bool = False
    ) -> Revision:
        """Hand in a draft; it decides nothing. Raises `FieldInvalid` or `OverlayTaken`."""
        request = pb.CreateRevisionRequest(
            overlay=overlay,
            files=[pb.PolicyFile(path=path, data=data) for path, data in sorted(files.items())],
            comment=comment,
            request_id=str(uuid.uuid4()),
            validate_only=validate_only,
        )
        async with calling():
            message = await self._policies.CreateRevision(
                request, timeout=unary_seconds, metadata=self._context.bearer()
            )
        found = revision_of(message)
        check_files(found, files)
        return found

    async def check(self, name: str) -> Report:
        """Let the gateway look at a revision, beside the rules that are live."""
        request = pb.CheckRevisionRequest(name=name)
        async with calling():
            found = await self._policies.CheckRevision(request, timeout=work_seconds, metadata=self._context.bearer())
        return Report(
            findings=tuple((finding.check, finding.text) for finding in found.findings),
            checks=tuple(found.checks),
            tests_passed=found.tests_passed,
        )

    async def approve(self, name: str) -> Revision:
        """As another person than the author. Raises `SecondPersonRequired`, `NotReady` or `PolicyTestsFailed`."""
        request = pb.ApproveRevisionRequest(name=name, request_id=str(uuid.uuid4()))
        async with calling():
            return revision_of(
                await self._policies.ApproveRevision(request, timeout=work_seconds, metadata=self._context.bearer())
            )

    async def activate(self, name: str) -> Revision:
        """From now on it decides. Raises `SecondPersonRequired` or `NotReady`."""
        request = pb.ActivateRevisionRequest(name=name, request_id=str(uuid.uuid4()))
        async with calling():
            return revision_of(
                await self._policies.ActivateRevision(request, timeout=work_seconds, metadata=self._context.bearer())
            )

    async def shadow(self, name: str, *, shadow: bool) -> Revision:
        """Ask it beside the live one, or no more."""
        request = pb.ShadowRevisionRequest(name=name, shadow=shadow, request_id=str(uuid.uuid4()))
        async with calling():
            return revision_of(
                await self._policies.ShadowRevision(request, timeout=work_seconds, metadata=self._context.bearer())
            )

    async def roll_back(self, name: str = "") -> Revision:
        """Back to a revision that was active before, or to no overlay at all."""
        request = pb.RollbackRevisionRequest(name=name, request_id=str(uuid.uuid4()))
        async with calling():
            return revision_of(
                await self._policies.RollbackRevision(request, timeout=work_seconds, metadata=self._context.bearer())
            )

    async def revision(self, name: str) -> Revision:
        """One revision with its files, which are those of its name. Raises `NotFound` or `StatementInvalid`."""
        request = pb.GetRevisionRequest(name=name)
        async with calling():
            message = await self._policies.GetRevision(request, timeout=unary_seconds, metadata=self._context.bearer())
        found = revision_of(message)
        if found.name != name:
            raise StatementInvalid("The gateway answered with another revision.")
        with reading():
            check_files(found, dict(found.files))
        return found

    async def revisions(self) -> AsyncGenerator[Revision, None]:
        """The tenant's revisions, newest first."""
        token = ""
        while True:
            request = pb.ListRevisionsRequest(page_size=page_size, page_token=token)
            async with calling():
                page = await self._policies.ListRevisions(
                    request, timeout=unary_seconds, metadata=self._context.bearer()
                )
            for message in page.revisions:
                yield revision_of(message)
            token = page.next_page_token
            if not token or not page.revisions:
                return

    async def active(self) -> Revision | None:
        """The revision that decides for the tenant now, with its files; None where there is none."""
        async with aclosing(self.revisions()) as listed:
            async for revision in listed:
                if revision.state is RevisionState.ACTIVE:
                    return await self.revision(revision.name)
        return None

    async def differences(self, name: str, *, limit: int = page_size) -> tuple[int, tuple[Difference, ...]]:
        """How many decisions a shadow was asked about, and the newest that it took otherwise."""
        request = pb.ListDifferencesRequest(name=name, page_size=limit)
        async with calling():
            page = await self._policies.ListDifferences(request, timeout=unary_seconds, metadata=self._context.bearer())
        return page.compared, tuple(difference_of(message) for message in page.differences)

    async def rules(self) -> tuple[str, tuple[RuleInForce, ...]]:
        """The bundle that is live, and its rules for the tenant."""
        async with calling():
            found = await self._policies.ListRules(
                pb.ListRulesRequest(), timeout=unary_seconds, metadata=self._context.bearer()
            )
        return found.bundle, tuple(rule_of(message) for message in found.rules)

    async def ask(self, wanted: Wanted) -> Exemption:
        """Ask for an exemption; it waits for its approvals."""
        request = pb.CreateExemptionRequest(
            rule=wanted.rule,
            places=wanted.places,
            classes=wanted.classes,
            purposes=wanted.purposes,
            reason=wanted.reason,
            ticket=wanted.ticket,
            expires_ns=wanted.expires_ns,
            uses_max=wanted.uses_max,
            request_id=str(uuid.uuid4()),
        )
        async with calling():
            return exemption_of(
                await self._policies.CreateExemption(request, timeout=unary_seconds, metadata=self._context.bearer())
            )

    async def approve_exemption(self, name: str) -> Exemption:
        """As another person than who asked. Raises `SecondPersonRequired` or `NotReady`."""
        request = pb.ApproveExemptionRequest(name=name, request_id=str(uuid.uuid4()))
        async with calling():
            return exemption_of(
                await self._policies.ApproveExemption(request, timeout=unary_seconds, metadata=self._context.bearer())
            )

    async def revoke(self, name: str) -> Exemption:
        """The end of it, for all that is not dispatched yet."""
        request = pb.RevokeExemptionRequest(name=name, request_id=str(uuid.uuid4()))
        async with calling():
            return exemption_of(
                await self._policies.RevokeExemption(request, timeout=unary_seconds, metadata=self._context.bearer())
            )

    async def exemptions(self) -> AsyncGenerator[Exemption, None]:
        """The tenant's exemptions, newest first, whatever became of them."""
        token = ""
        while True:
            request = pb.ListExemptionsRequest(page_size=page_size, page_token=token)
            async with calling():
                page = await self._policies.ListExemptions(
                    request, timeout=unary_seconds, metadata=self._context.bearer()
                )
            for message in page.exemptions:
                yield exemption_of(message)
            token = page.next_page_token
            if not token or not page.exemptions:
                return

    @property
    def _policies(self) -> "PoliciesAsyncStub":
        assert self._channel is not None, "use the officer in `async with`"
        return PoliciesStub(strict(self._channel))
