"""Whether the officers' cases are complete: each rule that denies is shown allowing, denying, at its boundary, unsure.

A boundary is two cases at least, one on each side. A kind that has no meaning for a rule stands in
`case_exceptions.toml` with a reason; one that stands there needlessly is stale.

    holes(cases, bundle)
"""

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

from policy.bundle import Bundle
from policy.cases import Case, Kind, case_files, complaints, read_cases
from tests.differential.engines import Both

_EXCEPTIONS: Final = Path(__file__).with_name("case_exceptions.toml")


def our_cases(bundle: Bundle) -> tuple[Case, ...]:
    """Every case of `policy/cases`."""
    found = [read_cases(path.read_bytes(), file=path.name, bundle=bundle) for path in case_files(())]
    return tuple(case for cases in found for case in cases)


@cache
def exceptions() -> dict[tuple[str, str], str]:
    """Rule and kind, and why the rule has no such case."""
    entries = tomllib.loads(_EXCEPTIONS.read_text())["exception"]
    return {(entry["rule"], entry["kind"]): entry["why"] for entry in entries}


def sides(case: Case) -> set[bool]:
    """What a case expects of its own rule: True that it denies, False that it does not."""
    expected = case.expected
    denies = {rule for rule, _ in expected.blocked} | {*expected.refused}
    allows = {rule for rule, _ in expected.not_blocked} | {*expected.not_refused}
    return ({True} if case.rule in denies else set()) | ({False} if case.rule in allows else set())


def holes(cases: Iterable[Case], bundle: Bundle) -> list[str]:
    """What is missing, shown the wrong way, or excepted needlessly."""
    found = list(cases)
    shown: dict[tuple[str, str], set[bool]] = {}
    for case in found:
        if case.kind is not None:
            shown.setdefault((case.rule, case.kind), set()).update(sides(case))
    wanted = {Kind.ALLOW: {False}, Kind.DENY: {True}, Kind.UNKNOWN: {True}, Kind.BOUNDARY: {True, False}}
    complaints = []
    for rule in (rule.id for rule in bundle.catalogue() if rule.effect == "deny"):
        for kind, needed in wanted.items():
            has = needed <= shown.get((rule, kind), set())
            excepted = (rule, kind) in exceptions()
            if not has and not excepted:
                complaints.append(f"{rule} has no case that shows: {kind}")
            if has and excepted:
                complaints.append(f"{rule} has cases and an exception: {kind}")
    return complaints + [f"{case.file}: {case.name}: says nothing of its rule" for case in found if _is_mute(case)]


def wrong_of(both: Both, case: Case) -> tuple[str, ...]:
    """What does not hold of a case, on either engine or between them."""
    one, other = both.ask_case(case)
    if one.body is None or other.body is None:
        return (one.failure, other.failure)
    unequal = () if one.text() == other.text() else ("the engines disagree",)
    return (*complaints(case, one.body, one.verdicts), *unequal)


def _is_mute(case: Case) -> bool:
    return case.kind is not None and not sides(case)
