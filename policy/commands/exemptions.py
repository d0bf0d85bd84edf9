"""`carnet exemption`: a rule that does not bind the own jobs, somewhere and for a while, once others answered for it.

    carnet exemption ask EU-GDPR-CHV --place US --reason "..." --expires 30d --uses 10     # role policy.author
    carnet exemption approve ID                                      # role policy.approver, not who asked
    carnet exemption list

Errors and exit codes are those of the `carnet` command.
"""

import re
from contextlib import aclosing
from typing import Annotated, Final

from cyclopts import App, Parameter

from carnet.cli.exits import ExitCode
from carnet.cli.options import DEFAULT, Options
from carnet.cli.output import Format, ListFormat, plain, show, show_json, show_pairs, show_table, when
from carnet.core.document import Json
from carnet.core.errors import FieldInvalid
from carnet.policyanswers import Exemption, Wanted
from carnet.policyofficer import PolicyOfficer
from policy.commands.common import moment

app = App(name="exemption", help="Ask for exemptions from rules, approve and revoke them.")

Output = Annotated[Format, Parameter(name=["--output", "-o"])]
ListOutput = Annotated[ListFormat, Parameter(name=["--output", "-o"])]
Texts = tuple[str, ...]

_AHEAD: Final = re.compile(r"([0-9]{1,2})d")
_ID: Final = re.compile(r"[0-9a-f]{32}")
_NAME: Final = re.compile(r"tenants/[0-9a-f]{32}/exemptions/[0-9a-f]{32}")
_DAY_NS: Final = 86_400 * 10**9


@app.command
async def ask(
    rule: str,
    /,
    *,
    place: Texts,
    reason: str,
    expires: str,
    uses: int,
    data_class: Annotated[Texts, Parameter(name="--class")] = (),
    purpose: Texts = (),
    ticket: str = "",
    output: Output = "table",
    options: Options = DEFAULT,
) -> int:
    """Ask for an exemption. It counts once enough other persons have approved it.

    Parameters
    ----------
    rule
        the rule that would not bind; many can not be asked for
    place
        where: a country or region; repeat for more
    reason
        why, for those who approve
    expires
        in how many days (30d), a day, or a time; 90 days at most
    uses
        for how many jobs
    data_class
        for which class of data; repeat for more. Any, if not given
    purpose
        for which purpose; repeat for more. Any, if not given
    ticket
        where else it is written down
    output
        table or json
    """
    wanted = Wanted(
        rule=rule,
        places=place,
        reason=reason,
        expires_ns=_until(expires),
        uses_max=uses,
        classes=data_class,
        purposes=purpose,
        ticket=ticket,
    )
    async with PolicyOfficer(options.load()) as officer:
        return _told(await officer.ask(wanted), output)


@app.command
async def approve(name: str, /, *, output: Output = "table", options: Options = DEFAULT) -> int:
    """Approve an exemption. It takes the role policy.approver, and another person than who asked.

    Parameters
    ----------
    name
        the exemption's name, or its id alone
    output
        table or json
    """
    async with PolicyOfficer(options.load()) as officer:
        return _told(await officer.approve_exemption(exemption_name(name, options)), output)


@app.command
async def revoke(name: str, /, *, output: Output = "table", options: Options = DEFAULT) -> int:
    """End an exemption, for all that was not dispatched yet.

    Parameters
    ----------
    name
        the exemption's name, or its id alone
    output
        table or json
    """
    async with PolicyOfficer(options.load()) as officer:
        return _told(await officer.revoke(exemption_name(name, options)), output)


@app.command(name="list")
async def list_exemptions(*, limit: int = 50, output: ListOutput = "table", options: Options = DEFAULT) -> int:
    """List exemptions, newest first, whatever became of them.

    Parameters
    ----------
    limit
        how many at most
    output
        table, json or name
    """
    found: list[Exemption] = []
    async with PolicyOfficer(options.load()) as officer, aclosing(officer.exemptions()) as listed:
        async for exemption in listed:
            if len(found) >= limit:
                break
            found.append(exemption)
    if output == "json":
        show_json([_document(exemption) for exemption in found])
    elif output == "name":
        for exemption in found:
            show(exemption.name)
    else:
        columns = ("exemption", "state", "rule", "places", "uses", "expires", "requester", "approvals")
        show_table(columns, [_row(exemption) for exemption in found])
    return ExitCode.OK


def exemption_name(text: str, options: Options) -> str:
    """An exemption's whole name, from it or from its id alone. Raises `FieldInvalid`."""
    if _ID.fullmatch(text):
        return f"tenants/{options.load().tenant_id.hex()}/exemptions/{text}"
    if _NAME.fullmatch(text) is None:
        raise FieldInvalid("An exemption is named tenants/ID/exemptions/ID or by its id, 32 hexadecimal digits.")
    return text


def _until(text: str) -> int:
    found = _AHEAD.fullmatch(text)
    return moment(None) + int(found[1]) * _DAY_NS if found else moment(text)


def _told(exemption: Exemption, output: str) -> int:
    if output == "json":
        show_json(_document(exemption))
        return ExitCode.OK
    wanted = exemption.wanted
    show_pairs(
        [
            ("exemption", exemption.name),
            ("state", exemption.state),
            ("rule", wanted.rule),
            ("places", ", ".join(wanted.places)),
            ("classes", ", ".join(wanted.classes) or "any"),
            ("purposes", ", ".join(wanted.purposes) or "any"),
            ("reason", plain(wanted.reason)),
            ("ticket", plain(wanted.ticket)),
            ("requester", plain(exemption.requester)),
            ("approvals", f"{len(exemption.approvers)} of {exemption.quorum}: {plain(', '.join(exemption.approvers))}"),
            ("expires", when(wanted.expires_ns)),
            ("uses", f"{exemption.uses} of {wanted.uses_max}"),
        ]
    )
    return ExitCode.OK


def _row(exemption: Exemption) -> tuple[str, ...]:
    wanted = exemption.wanted
    uses, approvals = f"{exemption.uses}/{wanted.uses_max}", f"{len(exemption.approvers)}/{exemption.quorum}"
    places, expires = ", ".join(wanted.places), when(wanted.expires_ns)
    return (exemption.name, exemption.state, wanted.rule, places, uses, expires, exemption.requester, approvals)


def _document(exemption: Exemption) -> dict[str, Json]:
    wanted = exemption.wanted
    return {
        "name": exemption.name,
        "state": exemption.state.value,
        "rule": wanted.rule,
        "places": [*wanted.places],
        "classes": [*wanted.classes],
        "purposes": [*wanted.purposes],
        "reason": wanted.reason,
        "ticket": wanted.ticket,
        "requester": exemption.requester,
        "approvers": [*exemption.approvers],
        "quorum": exemption.quorum,
        "created_ns": exemption.created_ns,
        "expires_ns": wanted.expires_ns,
        "uses": exemption.uses,
        "uses_max": wanted.uses_max,
    }
