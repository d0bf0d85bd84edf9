"""`carnet policy submit`, `approve`, `activate`, `shadow`, `rollback`, `diff`, `revisions`, `differences`, `rules`.

    carnet policy submit overlay/ --comment "Genetic data stays in the EEA."     # role policy.author
    carnet policy diff DIGEST                                                    # against the one that decides now
    carnet policy approve DIGEST                                                 # role policy.approver, not the author
    carnet policy activate DIGEST
    carnet policy rollback                                                       # to no overlay at all

These ask a gateway. Errors and exit codes are those of the `carnet` command; a draft with findings ends with 1.
"""

import difflib
import re
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from carnet.cli.exits import ExitCode
from carnet.cli.options import DEFAULT, Options
from carnet.cli.output import Format, ListFormat, plain, say, show, show_json, show_pairs, show_table, warn, when
from carnet.core.document import Json
from carnet.core.errors import FieldInvalid, NotFound
from carnet.policyanswers import Difference, Report, Revision, RuleInForce
from carnet.policyofficer import PolicyOfficer
from policy.checking import CHECKS, LINT
from policy.overlay import Overlay

Output = Annotated[Format, Parameter(name=["--output", "-o"])]
ListOutput = Annotated[ListFormat, Parameter(name=["--output", "-o"])]

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"tenants/[0-9a-f]{32}/revisions/[0-9a-f]{64}")


async def submit(
    folder: Path, /, *, comment: str = "", dry_run: bool = False, output: Output = "table", options: Options = DEFAULT
) -> int:
    """Hand in an overlay as a draft, and let the gateway look at it. It decides nothing yet.

    Parameters
    ----------
    folder
        the overlay's folder, with overlay.rego
    comment
        why, for those who approve
    dry_run
        only say whether it would be taken
    output
        table or json
    """
    overlay = Overlay.load(folder)
    async with PolicyOfficer(options.load()) as officer:
        found = await officer.submit(overlay.name, overlay.files, comment=comment, validate_only=dry_run)
        report = None if dry_run else await officer.check(found.name)
    if output == "json":
        show_json(_document(found) | ({} if report is None else {"report": _report(report)}))
    else:
        _show(found)
        _show_findings(report)
    return ExitCode.JOB_FAILED if report is not None and report.findings else ExitCode.OK


async def approve(name: str, /, *, output: Output = "table", options: Options = DEFAULT) -> int:
    """Approve a draft that passes its checks. It takes the role policy.approver. Not for its author.

    Parameters
    ----------
    name
        the revision's name, or its digest alone
    output
        table or json
    """
    async with PolicyOfficer(options.load()) as officer:
        return _told(await officer.approve(revision_name(name, options)), output)


async def activate(name: str, /, *, output: Output = "table", options: Options = DEFAULT) -> int:
    """Let an approved revision decide, from now on. Not for its author.

    Parameters
    ----------
    name
        the revision's name, or its digest alone
    output
        table or json
    """
    async with PolicyOfficer(options.load()) as officer:
        return _told(await officer.activate(revision_name(name, options)), output)


async def shadow(name: str, /, *, off: bool = False, output: Output = "table", options: Options = DEFAULT) -> int:
    """Ask a revision beside the one that decides; it decides nothing. A tenant has one shadow.

    Parameters
    ----------
    name
        the revision's name, or its digest alone
    off
        ask it no more
    output
        table or json
    """
    async with PolicyOfficer(options.load()) as officer:
        return _told(await officer.shadow(revision_name(name, options), shadow=not off), output)


async def rollback(name: str = "", /, *, output: Output = "table", options: Options = DEFAULT) -> int:
    """Go back to a revision that was active before, or to no overlay at all.

    Parameters
    ----------
    name
        the revision's name, or its digest alone; no overlay, if not given
    output
        table or json
    """
    async with PolicyOfficer(options.load()) as officer:
        return _told(await officer.roll_back(revision_name(name, options) if name else ""), output)


async def list_revisions(*, limit: int = 50, output: ListOutput = "table", options: Options = DEFAULT) -> int:
    """List the revisions of the own overlay, newest first.

    Parameters
    ----------
    limit
        how many at most
    output
        table, json or name
    """
    found: list[Revision] = []
    async with PolicyOfficer(options.load()) as officer, aclosing(officer.revisions()) as listed:
        async for revision in listed:
            if len(found) >= limit:
                break
            found.append(revision)
    if output == "json":
        show_json([_document(revision) for revision in found])
    elif output == "name":
        for revision in found:
            show(revision.name)
    else:
        columns = ("revision", "overlay", "state", "shadow", "author", "created", "comment")
        show_table(columns, [_row(revision) for revision in found])
    return ExitCode.OK


async def diff(name: str, other: str = "", /, *, options: Options = DEFAULT) -> int:
    """Show what a revision changes, line by line, against another one, or against the one that decides now.

    Parameters
    ----------
    name
        the revision's name, or its digest alone
    other
        the revision to compare with; the active one, if not given
    """
    async with PolicyOfficer(options.load()) as officer:
        after = await officer.revision(revision_name(name, options))
        before = await officer.revision(revision_name(other, options)) if other else await officer.active()
    old, new = dict(before.files) if before is not None else {}, dict(after.files)
    for path in sorted(old.keys() | new.keys()):
        for line in difflib.unified_diff(
            _lines(old.get(path)), _lines(new.get(path)), fromfile=f"a/{path}", tofile=f"b/{path}", lineterm=""
        ):
            show(plain(line))
    return ExitCode.OK


async def list_differences(name: str, /, *, output: Output = "table", options: Options = DEFAULT) -> int:
    """Show the decisions that a shadow took otherwise, newest first.

    Parameters
    ----------
    name
        the revision's name, or its digest alone
    output
        table or json
    """
    async with PolicyOfficer(options.load()) as officer:
        compared, found = await officer.differences(revision_name(name, options))
    if output == "json":
        show_json({"compared": compared, "differences": [_difference(each) for each in found]})
        return ExitCode.OK
    columns = ("decision", "decided", "live", "shadow", "newly permitted", "newly denied", "rules")
    show_table(columns, [_difference_row(each) for each in found])
    say(f"{compared} decisions compared")
    return ExitCode.OK


async def list_live_rules(*, output: ListOutput = "table", options: Options = DEFAULT) -> int:
    """List the rules that decide at the gateway now: those of all, and those of the own overlay.

    Parameters
    ----------
    output
        table, json or name
    """
    async with PolicyOfficer(options.load()) as officer:
        bundle, rules = await officer.rules()
    if output == "json":
        show_json({"bundle": bundle, "rules": [_rule(rule) for rule in rules]})
    elif output == "name":
        for rule in rules:
            show(rule.id)
    else:
        columns = ("rule", "overlay", "stage", "effect", "status", "exempt", "title")
        show_table(columns, [_rule_row(rule) for rule in rules])
        say(f"bundle {bundle}")
    return ExitCode.OK


def revision_name(text: str, options: Options) -> str:
    """A revision's whole name, from it or from its digest alone. Raises `FieldInvalid`."""
    if _DIGEST.fullmatch(text):
        return f"tenants/{options.load().tenant_id.hex()}/revisions/{text}"
    if _NAME.fullmatch(text) is None:
        raise FieldInvalid("A revision is named tenants/ID/revisions/DIGEST or by its digest, 64 hexadecimal digits.")
    return text


def _lines(data: bytes | None) -> list[str]:
    try:
        return [] if data is None else data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise NotFound("The revision's files are no text.") from error


def _told(revision: Revision, output: str) -> int:
    if output == "json":
        show_json(_document(revision))
    else:
        _show(revision)
    return ExitCode.OK


def _show(revision: Revision) -> None:
    show_pairs(
        [
            ("revision", revision.name),
            ("overlay", revision.overlay),
            ("state", revision.state + (" (shadow)" if revision.shadow else "")),
            ("comment", plain(revision.comment)),
            ("author", f"{revision.author} {when(revision.created_ns)}"),
            ("approver", f"{revision.approver} {when(revision.approved_ns)}" if revision.approver else ""),
            ("activator", f"{revision.activator} {when(revision.activated_ns)}" if revision.activator else ""),
            ("bundle", revision.bundle),
        ]
    )


def _show_findings(report: Report | None) -> None:
    if report is None:
        return
    for check, text in report.findings:
        warn(f"{check}: {text}")
    if not report.findings:
        say(f"clean: {', '.join(report.checks)}; {report.tests_passed} tests passed")
    if LINT not in report.checks and report.checks == CHECKS:
        say("not linted: the gateway has no Regal")


def _row(revision: Revision) -> tuple[str, ...]:
    shadow = "yes" if revision.shadow else ""
    created = when(revision.created_ns)
    return (revision.name, revision.overlay, revision.state, shadow, revision.author, created, revision.comment)


def _difference_row(each: Difference) -> tuple[str, ...]:
    places = [", ".join(found) for found in (each.newly_permitted, each.newly_denied, each.rules)]
    return (each.decision, when(each.time_ns), each.live_verdict, each.shadow_verdict, *places)


def _rule_row(rule: RuleInForce) -> tuple[str, ...]:
    exempt = "may be" if rule.exemptible else "never"
    status = rule.status if rule.in_force else f"{rule.status} (not now)"
    return (rule.id, rule.overlay, rule.stage, rule.effect, status, exempt, rule.title)


def _document(revision: Revision) -> dict[str, Json]:
    return {
        "name": revision.name,
        "overlay": revision.overlay,
        "state": revision.state.value,
        "shadow": revision.shadow,
        "comment": revision.comment,
        "author": revision.author,
        "approver": revision.approver,
        "activator": revision.activator,
        "created_ns": revision.created_ns,
        "approved_ns": revision.approved_ns,
        "activated_ns": revision.activated_ns,
        "bundle": revision.bundle,
    }


def _report(report: Report) -> dict[str, Json]:
    findings: list[Json] = [{"check": check, "text": text} for check, text in report.findings]
    return {"findings": findings, "checks": [*report.checks], "tests_passed": report.tests_passed}


def _difference(each: Difference) -> dict[str, Json]:
    return {
        "decision": each.decision,
        "time_ns": each.time_ns,
        "live_verdict": each.live_verdict,
        "shadow_verdict": each.shadow_verdict,
        "newly_permitted": _texts(each.newly_permitted),
        "newly_denied": _texts(each.newly_denied),
        "rules": _texts(each.rules),
    }


def _rule(rule: RuleInForce) -> dict[str, Json]:
    return {
        "id": rule.id,
        "title": rule.title,
        "stage": rule.stage,
        "effect": rule.effect,
        "citations": _texts(rule.citations),
        "status": rule.status,
        "review_by": rule.review_by,
        "exemptible": rule.exemptible,
        "overlay": rule.overlay,
        "in_force": rule.in_force,
    }


def _texts(items: Iterable[str]) -> list[Json]:
    return [*items]
