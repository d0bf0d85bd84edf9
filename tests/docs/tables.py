"""The parts of docs/ that are made from the code, so that they can not drift from it.

python -m tests.docs.tables        # from the checkout's root: writes them anew; a test compares
"""

import ast
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor

from carnet.cli.exits import BY_REASON, ExitCode
from carnet.core import errors, lifecycle, limits
from carnet.core.errors import CarnetError
from carnet.core.job import JobState
from carnet.core.lifecycle import Contender, Job
from carnet.core.receipt import ExitClass
from carnet.v1 import decisions_pb2, jobs_pb2, policies_pb2, runners_pb2
from gateway.status import code_of
from policy.commands.app import app as policy
from tests.docs.pages import ROOT, generated, with_generated

PACKAGES: Final = ("carnet", "gateway", "policy", "sandbox", "certs")
FAMILIES: Final = (errors.CallerError, errors.PeerError, errors.Refused, errors.Unavailable, errors.Bug)
SHORT: Final = 60
MADE: Final = re.compile(r"(_pb2(_grpc)?\.py|/__init__\.py|migrations/(env|versions/.*)\.py)$")


def row(*cells: str) -> str:
    """One line of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    return row(*head) + "|" + "---|" * len(head) + "\n" + "".join(row(*cells) for cells in rows)


# --- the life of a job -------------------------------------------------------------------------------------------


def transitions() -> str:
    """core/lifecycle.TABLE, each pair tried on every kind of job that can be in that state."""
    pairs = ((state, event, _reached(state, event)) for state, event in lifecycle.TABLE)
    rows = ((state.name, f"`{event.__name__}`", _words(event), to) for state, event, to in pairs)
    return table(("in", "event", "what happened", "goes to"), rows)


def _reached(state: JobState, event: type[lifecycle.Event]) -> str:
    found = {
        lifecycle.advance(job, value, now_ns=0)[0].state
        for job, value in itertools.product(_jobs(state), _events(event))
    }
    return ", ".join(state.name for state in JobState if state in found)


def _jobs(state: JobState) -> Iterator[Job]:
    """Jobs in this state: with and without another recipient, with and without another attempt, of every cause."""
    causes = (JobState.CANCELLED, JobState.DENIED, JobState.EXPIRED) if state is JobState.CANCELLING else (None,)
    spent = state in (JobState.DISPATCHING, JobState.RUNNING, JobState.CANCELLING)
    first = Contender(spiffe_id="one", jurisdiction="FR", kid=b"1", spent=spent)
    second = Contender(spiffe_id="two", jurisdiction="DE", kid=b"2")
    needs = state is JobState.NEEDS_RECIPIENTS
    for attempts_max, more, cause in itertools.product((1, 2), (False, True), causes):
        contenders = () if needs or (state is JobState.PENDING and not more) else (first, *([second] if more else []))
        runner = "one" if spent else ""
        yield Job(
            state=state,
            attempt=int(spent),
            attempts_max=attempts_max,
            deadline_ns=1,
            contenders=contenders,
            runner=runner,
            cause=cause,
        )


def _events(event: type[lifecycle.Event]) -> Iterator[lifecycle.Event]:
    values: dict[str, tuple[Any, ...]] = {
        "approval": (False, True),
        "spiffe_id": ("one",),
        "reason": ("LEASE_EXPIRED",),
        "exit_class": tuple(ExitClass),
        "contenders": ((), (Contender(spiffe_id="three", jurisdiction="FR", kid=b"3"),)),
    }
    names = [field.name for field in fields(event) if field.default is MISSING or field.type in (bool, "bool")]
    for chosen in itertools.product(*(values[name] for name in names)):
        yield event(**dict(zip(names, chosen, strict=True)))


def _words(named: type) -> str:
    return " ".join((named.__doc__ or "").split())


# --- errors ------------------------------------------------------------------------------------------------------


def reasons() -> str:
    """Every reason of core/errors.py, with the status that gateway/status.py gives it."""
    found = [(family, error) for family in FAMILIES for error in _below(family)]
    rows = ((f"`{error.reason}`", code_of(error()).name, family.__name__, _words(error)) for family, error in found)
    return table(("reason", "gRPC status", "blame", "text"), rows)


def _below(family: type[CarnetError]) -> list[type[CarnetError]]:
    # Only the tree of core: a role may have a narrower class of the same reason.
    return [error for error in family.__subclasses__() if error.__module__ == errors.__name__]


def exits() -> str:
    """The command's exit codes, and the reasons that have one of their own."""
    named = {code: sorted(f"`{reason}`" for reason, found in BY_REASON.items() if found is code) for code in ExitCode}
    rows = ((str(code.value), code.name.lower().replace("_", " "), ", ".join(named[code])) for code in ExitCode)
    return table(("code", "meaning", "reasons with this code of their own"), rows)


# --- bounds ------------------------------------------------------------------------------------------------------


def bounds() -> str:
    """core/limits.py, with its headings."""
    lines, heading, out = (ROOT / "carnet/core/limits.py").read_text("utf-8").splitlines(), "units", ""
    for line in lines:
        if found := re.match(r"# --- ([a-z ]+?)( \(.*\))? -+$", line):
            heading = found[1]
            out += f"\n*{heading}*\n\n" + row("bound", "value") + "|---|---|\n"
        elif heading != "units" and (found := re.match(r"(\w+): Final = ", line)):
            out += row(f"`{found[1]}`", amount(found[1], getattr(limits, found[1])))
    return out.lstrip("\n")


def amount(name: str, value: float) -> str:
    """A bound with its unit, in words that people use."""
    if "bytes" in name:
        for unit, size in (("GiB", limits.GIB), ("MiB", limits.MIB), ("KiB", limits.KIB)):
            if value >= size and value % size == 0:
                return f"{int(value // size)} {unit}"
        return f"{value} B"
    if "seconds" in name:
        for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
            if value >= 2 * size and value % size == 0:
                return f"{int(value // size)} {unit}"
        return f"{value} s"
    return f"{value:,}"


# --- the services ------------------------------------------------------------------------------------------------


def services() -> str:
    """Every service and RPC, with the message parts that a stream is made of."""
    files = (jobs_pb2.DESCRIPTOR, decisions_pb2.DESCRIPTOR, policies_pb2.DESCRIPTOR, runners_pb2.DESCRIPTOR)
    methods = (method for file in files for service in file.services_by_name.values() for method in service.methods)
    return table(("RPC", "request", "response"), (_rpc(method) for method in methods))


def _rpc(method: MethodDescriptor) -> tuple[str, str, str]:
    asked, answered = method.input_type, method.output_type
    return (
        f"`{method.containing_service.name}.{method.name}`",
        _message(asked, streams=method.client_streaming),
        _message(answered, streams=method.server_streaming),
    )


def _message(message: Any, *, streams: bool) -> str:
    parts = [f"`{field.name}`" for oneof in message.oneofs for field in oneof.fields]
    return ("stream of " if streams else "") + f"`{message.name}`" + (f": {', '.join(parts)}" if parts else "")


# --- the tree ----------------------------------------------------------------------------------------------------


def tree() -> str:
    """Every module, with the first words of its docstring."""
    out = ""
    for package in PACKAGES:
        files = [path for path in sorted((ROOT / package).rglob("*.py")) if not MADE.search(path.as_posix())]
        out += "".join(
            row(f"`{path.relative_to(ROOT).as_posix()}`", first_words(path.read_text("utf-8"))) for path in files
        )
    return row("file", "what it is") + "|---|---|\n" + out


def first_words(source: str) -> str:
    """The first sentence of a module's docstring; the second too, where the first is short."""
    docstring = ast.get_docstring(ast.parse(source)) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    first, *more = re.split(r"(?<=[.!?]) (?=[A-Z`])", paragraph)
    return f"{first} {more[0]}" if more and len(first) < SHORT else first


def verbs() -> str:
    """The verbs of `carnet policy`, with the first sentence of each one's help."""
    named = [name for name in policy if not name.startswith("-")]
    rows = ((f"`{name}`", policy[name].help.splitlines()[0]) for name in named)
    return table(("verb", "what it does"), rows)


# --- the mutation score -------------------------------------------------------------------------------------------


def mutation() -> str:
    """The recorded score of each module of the core, and the total."""
    lines = [json.loads(line) for line in (ROOT / "tests" / "mutation" / "score.jsonl").read_text("utf-8").splitlines()]
    found = [line for line in lines if "mutation" in line]
    head = ("module", "mutants", "noticed", "equivalent", "lived", "score")
    return table(head, (_scored(line) for line in sorted(found, key=lambda line: line["mutation"] == "total")))


def _scored(line: dict[str, Any]) -> tuple[str, ...]:
    lived = line["mutants"] - line["killed"] - line["equivalent"]
    counts = (line["mutants"], line["killed"], line["equivalent"], lived)
    return (line["mutation"], *(f"{count:,}" for count in counts), f"{100 * line['score']:.1f} %")


PARTS: Final[dict[str, Callable[[], str]]] = {
    "transitions": transitions,
    "reasons": reasons,
    "exits": exits,
    "bounds": bounds,
    "services": services,
    "tree": tree,
    "verbs": verbs,
    "mutation": mutation,
}
PAGES: Final = ("docs/architecture.md", "docs/performance.md", "docs/protocol.md")


def main() -> None:
    """Write the generated parts anew."""
    for name in PAGES:
        page = ROOT / name
        text = page.read_text("utf-8")
        page.write_text(with_generated(text, {part: PARTS[part]() for part in generated(text)}), "utf-8")


if __name__ == "__main__":
    main()
