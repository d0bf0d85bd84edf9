"""The services that a gateway answers for, each joined from its parts."""

from gateway import decisions as deciding
from gateway import deliveries, intake, policies, preparing, recipients, returns
from gateway.approvals import Approvals
from gateway.decisions import Decisions
from gateway.jobs import Jobs
from gateway.pages import PageTokens
from gateway.parts import Parts
from gateway.policies import Policies
from gateway.runners import Runners


def jobs(parts: Parts, pages: PageTokens) -> Jobs:
    """The Jobs service: what an enterprise calls."""
    return Jobs(
        parts.kept.store,
        _preparing(parts),
        _intake(parts),
        _recipients(parts),
        Approvals(parts.kept.store, parts.lives, clock=parts.clock),
        returns.Returns(
            returns.Parts(store=parts.kept.store, log=parts.kept.log, blobs=parts.kept.blobs, bells=parts.bells)
        ),
        parts.lives,
        pages=pages,
        clock=parts.clock,
    )


def decisions(parts: Parts, pages: PageTokens) -> Decisions:
    """The Decisions service: what was decided, for compliance officers."""
    kept = parts.kept
    return Decisions(
        deciding.Parts(
            store=kept.store,
            log=kept.log,
            bundles=kept.bundles,
            live=lambda: parts.law.policy.bundle.revision,
            pages=pages,
        )
    )


def changes(parts: Parts, pages: PageTokens) -> Policies:
    """The Policies service: revisions and exemptions, for compliance officers."""
    return Policies(
        policies.Parts(
            store=parts.kept.store,
            policy=parts.law.policy,
            composition=parts.law.composition,
            revisions=parts.law.revisions,
            exemptions=parts.law.exemptions,
            pages=pages,
            clock=parts.clock,
        )
    )


def runners(parts: Parts) -> Runners:
    """The Runners service: what a runner calls."""
    home = deliveries.Deliveries(
        deliveries.Parts(
            store=parts.kept.store,
            blobs=parts.kept.blobs,
            lives=parts.lives,
            metrics=parts.metrics,
            ring=parts.bells.ring,
            clock=parts.clock,
        )
    )
    return Runners(parts.roster, parts.dispatch, home, parts.metrics, parts.pins, clock=parts.clock)


def _preparing(parts: Parts) -> preparing.Preparing:
    return preparing.Preparing(
        preparing.Parts(
            store=parts.kept.store,
            roster=parts.roster,
            judge=parts.judge,
            ledger=parts.law.ledger,
            standing=parts.law.standing,
            shadow=parts.law.shadow,
            metrics=parts.metrics,
            decisions=parts.decisions,
            words=parts.law.words.of,
            clock=parts.clock,
        )
    )


def _intake(parts: Parts) -> intake.Intake:
    return intake.Intake(
        intake.Parts(
            store=parts.kept.store,
            log=parts.kept.log,
            blobs=parts.kept.blobs,
            wraps=parts.kept.wraps,
            ledger=parts.law.ledger,
            standing=parts.law.standing,
            exemptions=parts.law.exemptions,
            judge=parts.judge,
            roster=parts.roster,
            pins=parts.pins,
            key_sets=parts.kept.key_sets,
            render=lambda reason: parts.law.words.of("").denial(reason.rule, reason).text,
            adopt=parts.dispatch.adopt,
            knows=lambda key: parts.lives.find(key) is not None,
            clock=parts.clock,
        )
    )


def _recipients(parts: Parts) -> recipients.Recipients:
    return recipients.Recipients(
        recipients.Parts(
            store=parts.kept.store,
            lives=parts.lives,
            wraps=parts.kept.wraps,
            ledger=parts.law.ledger,
            key_sets=parts.kept.key_sets,
            standing=parts.law.standing,
            exemptions=parts.law.exemptions,
            judge=parts.judge,
            roster=parts.roster,
            pins=parts.pins,
            clock=parts.clock,
        )
    )
