"""Cases: what policy must say of a job, in a file that an officer can edit; every case is asked of an engine.

- A case starts from an ordinary job (`examples/german-hospital.json`) and runner (`examples/runner-fr.json`), changed
  by the file's `ordinary` part and then by its own: objects are merged, anything else is replaced.
- Days (`2031-12-27`) and times (`2031-12-26T23:59:59.999999999Z`) are UTC. A field that ends in `_ns` takes them too.
- A case may be about a rule, and then says what it shows of it: that it allows, that it denies, where its boundary is,
  or that what is unknown counts as unfavourable.
- What is no case is `FieldInvalid` with its path (`cases[3].facts.data.classes[0]`), before any engine hears of it.

    for case in read_cases(data, file="gdpr.json", bundle=bundle):
        complaints(case, await engine.decide(case.query), await engine.judge(case.query, case.runners))
"""

import datetime
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from carnet.core import limits
from carnet.core.decision import DecisionBody, Effect, Reason, RunnerVerdict
from carnet.core.document import Json, canonical, parse, refuse
from carnet.core.errors import FieldInvalid
from carnet.core.facts import parse_facts
from carnet.core.runner import RunnerFacts, parse_runner
from policy.bundle import Bundle, home
from policy.catalogue import nanoseconds
from policy.engine import GatewayFacts, GrantedExemption, JobQuery, Screening, Volume

cases_bytes_max: Final = 1 * limits.MIB

_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?Z")

_WARNINGS: Final = frozenset({"expect.warned", "expect.not_warned"})

_Fields = dict[str, Json]
_Read = TypeVar("_Read")


class Kind(StrEnum):
    """What a case shows of its rule."""

    ALLOW = "allow"
    DENY = "deny"
    BOUNDARY = "boundary"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the answer must say; what is empty is not asked about. Pairs are of a rule and places, or of a duty."""

    verdict: str
    permitted: tuple[str, ...]
    not_permitted: tuple[str, ...]
    blocked: tuple[tuple[str, tuple[str, ...]], ...]
    not_blocked: tuple[tuple[str, tuple[str, ...]], ...]
    warned: tuple[str, ...]
    not_warned: tuple[str, ...]
    obligations: tuple[tuple[str, str | int], ...]
    unverified: tuple[str, ...]
    valid_until_ns: int
    runner: str
    runner_unverified: tuple[str, ...]
    refused: tuple[str, ...]
    not_refused: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case of a file, ready to be asked. `rule` and `kind` are empty where it is about no single rule."""

    file: str
    name: str
    rule: str
    kind: Kind | None
    trap: str
    query: JobQuery
    runners: tuple[RunnerFacts, ...]
    expected: Expected


def case_files(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """The files with cases: each path that is one, every JSON file of a folder, ours if no path is given."""
    found: list[Path] = []
    for path in paths or (home / "cases",):
        found += sorted(path.glob("*.json")) if path.is_dir() else [path]
    return tuple(found)


def instant(text: str, path: str) -> int:
    """A day or a time in UTC as ns since 1970, exact to the nanosecond. Raises `FieldInvalid`."""
    try:
        found = _TIME.fullmatch(text)
        if found is None:
            return nanoseconds(text)
        day, hours, minutes, seconds, fraction = found.groups()
        time = datetime.time(int(hours), int(minutes), int(seconds))
    except ValueError:
        refuse(path, "must be a day or a UTC time, as 2026-11-22 or 2026-11-22T12:00:00Z")
    whole = nanoseconds(day) + (time.hour * 3600 + time.minute * 60 + time.second) * 10**9
    return whole + int((fraction or "").ljust(9, "0"))


def read_cases(data: bytes, *, file: str, bundle: Bundle) -> tuple[Case, ...]:
    """The cases of one file. Raises `FieldInvalid`."""
    parse(data, bytes_max=cases_bytes_max)
    document: _Fields = json.loads(data)
    bundle.schemas.check("cases", document)
    ordinary = _object(document.get("ordinary"))
    known = bundle.rows("rules")
    found = []
    for number, entry in enumerate(_objects(document["cases"])):
        path = f"cases[{number}]"
        for where, rule in _named_rules(entry):
            if rule not in known:
                refuse(f"{path}.{where}", "names no rule that there is")
            if where in _WARNINGS and known[rule]["stage"] == "runner" and "runner" not in entry:
                refuse(f"{path}.runner", f"is missing, and {rule} is about runners")
        found.append(_case(entry, ordinary, file=file, path=path, overlay=str(document.get("overlay", ""))))
    names = [case.name for case in found]
    for number, name in enumerate(names):
        if name in names[:number]:
            refuse(f"cases[{number}].name", "is another case's")
    return tuple(found)


def complaints(case: Case, body: DecisionBody, verdicts: tuple[RunnerVerdict, ...]) -> tuple[str, ...]:
    """What the answer says otherwise than the case expects; empty where it says the same."""
    return (
        *_of_body(case.expected, body),
        *_of_warnings(case.expected, (*body.reasons, *(reason for verdict in verdicts for reason in verdict.reasons))),
        *_of_runner(case.expected, verdicts),
    )


def _of_body(expected: Expected, body: DecisionBody) -> Iterator[str]:
    blocked = dict(body.blocked)
    duties = {duty.type: duty.value for duty in body.obligations}
    if expected.verdict and body.verdict != expected.verdict:
        yield f"the verdict is {body.verdict}, not {expected.verdict}"
    yield from (f"{place} is not permitted" for place in expected.permitted if not body.permits(place))
    yield from (f"{place} is permitted" for place in expected.not_permitted if body.permits(place))
    for rule, places in expected.blocked:
        yield from (f"{rule} does not block {place}" for place in places if place not in blocked.get(rule, ()))
    for rule, places in expected.not_blocked:
        yield from (f"{rule} blocks {place}" for place in places if place in blocked.get(rule, ()))
    for duty, value in expected.obligations:
        if duties.get(duty) != value:
            yield f"the obligation {duty} is {duties.get(duty)}, not {value}"
    yield from (f"{row} is not named" for row in expected.unverified if row not in body.unverified_rows_used)
    if expected.valid_until_ns and body.valid_until_ns != expected.valid_until_ns:
        yield f"it is valid until {body.valid_until_ns}, not {expected.valid_until_ns}"


def _of_warnings(expected: Expected, reasons: tuple[Reason, ...]) -> Iterator[str]:
    """Of the job, and of the runner where one is judged."""
    warned = {reason.rule for reason in reasons if reason.effect is Effect.WARN}
    yield from (f"{rule} does not warn" for rule in expected.warned if rule not in warned)
    yield from (f"{rule} warns" for rule in expected.not_warned if rule in warned)


def _of_runner(expected: Expected, verdicts: tuple[RunnerVerdict, ...]) -> Iterator[str]:
    for verdict in verdicts:
        denied = {reason.rule for reason in verdict.reasons if reason.effect is Effect.DENY}
        word = "permit" if verdict.permitted else "deny"
        if expected.runner and word != expected.runner:
            yield f"the runner's verdict is {word}, not {expected.runner}: {', '.join(sorted(denied)) or 'no rule'}"
        used = verdict.unverified_rows_used
        yield from (f"{row} is not named in the verdict" for row in expected.runner_unverified if row not in used)
        yield from (f"{rule} does not refuse the runner" for rule in expected.refused if rule not in denied)
        yield from (f"{rule} refuses the runner" for rule in expected.not_refused if rule in denied)


def _case(entry: _Fields, ordinary: _Fields, *, file: str, path: str, overlay: str) -> Case:
    at = entry.get("at", ordinary.get("at"))
    if not isinstance(at, str):
        refuse(f"{path}.at", "is missing")
    expected = _object(entry["expect"])
    judged = "runner" in entry
    if not judged and expected.keys() & {"runner", "runner_unverified", "refused", "not_refused"}:
        refuse(f"{path}.runner", "is missing, and something is expected of it")
    facts = _changed("german-hospital.json", _object(ordinary.get("facts")), _object(entry.get("facts")), path)
    query = JobQuery(
        facts=_read(parse_facts, facts, f"{path}.facts"),
        gateway=_gateway(_object(entry.get("gateway")), path=f"{path}.gateway", overlay=overlay),
        now_ns=instant(at, f"{path}.at"),
    )
    runner = _changed("runner-fr.json", _object(ordinary.get("runner")), _object(entry.get("runner")), path)
    runner["country"] = str(runner["jurisdiction"])[:2]
    kind = entry.get("kind")
    return Case(
        file=file,
        name=str(entry["name"]),
        rule=str(entry.get("rule", "")),
        kind=Kind(kind) if isinstance(kind, str) else None,
        trap=str(entry.get("trap", "")),
        query=query,
        runners=(_read(parse_runner, runner, f"{path}.runner"),) if judged else (),
        expected=_expected(expected, path),
    )


def _changed(ordinary: str, first: _Fields, second: _Fields, path: str) -> _Fields:
    document: _Fields = json.loads((home / "examples" / ordinary).read_bytes())
    for change in (first, second):
        document = _merged(document, change, path)
    return document


def _merged(document: Mapping[str, Json], change: Mapping[str, Json], path: str) -> _Fields:
    found = dict(document)
    for name, value in change.items():
        old = found.get(name)
        found[name] = _merged(old, value, path) if isinstance(old, dict) and isinstance(value, dict) else value
    return {name: _timed(name, value, path) for name, value in found.items()}


def _timed(name: str, value: Json, path: str) -> Json:
    """A field that ends in `_ns` may be said as a day or a time."""
    if isinstance(value, dict):
        return {key: _timed(key, item, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_timed(name, item, path) for item in value]
    return instant(value, f"{path}: {name}") if name.endswith("_ns") and isinstance(value, str) else value


def _read(read: Callable[[bytes], _Read], document: _Fields, path: str) -> _Read:
    try:
        return read(canonical(document))
    except FieldInvalid as error:
        field = error.metadata.get("field", "")
        raise FieldInvalid(f"{path}: {error.text}", metadata={"field": f"{path}.{field}"}) from error


def _gateway(said: _Fields, *, path: str, overlay: str) -> GatewayFacts:
    volumes = _object(said.get("volumes"))
    return GatewayFacts(
        issuer="cases",
        subject="cases",
        tenant="cases",
        roles=(),
        screening=Screening(str(said.get("screening", "clear"))),
        volumes=tuple(Volume(category=name, records=_whole(volumes[name])) for name in sorted(volumes)),
        overlay=overlay,
        exemptions=tuple(_exemption(entry, path) for entry in _objects(said.get("exemptions"))),
        approvals=_whole(said.get("approvals", 0)),
    )


def _exemption(entry: _Fields, path: str) -> GrantedExemption:
    timed = _timed("", entry, path)
    found = timed if isinstance(timed, dict) else {}
    return GrantedExemption(
        id=str(found["id"]),
        rule=str(found["rule"]),
        places=_words(found["places"]),
        classes=_words(found["classes"]),
        purposes=_words(found["purposes"]),
        expires_ns=_whole(found["expires_ns"]),
    )


def _expected(said: _Fields, path: str) -> Expected:
    until = said.get("valid_until")
    obligations = _object(said.get("obligations"))
    return Expected(
        verdict=str(said.get("verdict", "")),
        permitted=_words(said.get("permitted")),
        not_permitted=_words(said.get("not_permitted")),
        blocked=tuple((rule, _words(places)) for rule, places in _object(said.get("blocked")).items()),
        not_blocked=tuple((rule, _words(places)) for rule, places in _object(said.get("not_blocked")).items()),
        warned=_words(said.get("warned")),
        not_warned=_words(said.get("not_warned")),
        obligations=tuple((duty, v if isinstance(v, int) else str(v)) for duty, v in obligations.items()),
        unverified=_words(said.get("unverified")),
        valid_until_ns=instant(until, f"{path}.expect.valid_until") if isinstance(until, str) else 0,
        runner=str(said.get("runner", "")),
        runner_unverified=_words(said.get("runner_unverified")),
        refused=_words(said.get("refused")),
        not_refused=_words(said.get("not_refused")),
    )


def _named_rules(entry: _Fields) -> Iterator[tuple[str, str]]:
    if "rule" in entry:
        yield "rule", str(entry["rule"])
    expected = _object(entry["expect"])
    for part in ("blocked", "not_blocked", "warned", "not_warned", "refused", "not_refused"):
        named = expected.get(part)
        for rule in named if isinstance(named, (dict, list)) else ():
            yield f"expect.{part}", str(rule)


def _object(value: Json) -> _Fields:
    return value if isinstance(value, dict) else {}


def _objects(value: Json) -> list[_Fields]:
    return [_object(item) for item in value] if isinstance(value, list) else []


def _words(value: Json) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _whole(value: Json) -> int:
    return value if isinstance(value, int) else 0
