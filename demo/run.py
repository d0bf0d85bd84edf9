"""A German hospital's job crosses a border, and is refused at another. `./dev demo` sets up everything and runs this.

Each claim is a line, pass or fail; the program ends with 1 where any failed. Everything is real: policy in an OPA, TLS,
three runners of three operators, containers on a Docker engine, 569 published records.
"""

import asyncio
import hashlib
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import failures
import search

from carnet import proof
from carnet.answers import Denied, Event, Outcome
from carnet.client import Client
from carnet.context import load_context
from carnet.core.errors import CarnetError
from carnet.core.receipt import ExitClass
from carnet.inbox import LogLine
from carnet.outbox import Work, WorkFile
from carnet.pins import load_pins
from certs.system import Development, development

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "breast_cancer" / "records.csv"
RECORDS_SHA256 = "fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed"
CAGE_ACCOUNTS = range(70_000, 71_000)
JOB_SECONDS_MAX = 180


class Report:
    """The lines, and whether any failed."""

    def __init__(self) -> None:
        self.failed = 0
        self._began = time.monotonic()

    def title(self, text: str) -> None:
        """A heading."""
        print(f"\n{text}", flush=True)

    def line(self, text: str, holds: bool) -> None:
        """One claim."""
        self.failed += not holds
        print(f"  {'pass' if holds else 'FAIL'}  {time.monotonic() - self._began:6.1f} s  {text}", flush=True)


def facts(image: str, *, only: str = "") -> bytes:
    """The hospital's facts, for this image."""
    text = (HERE / "facts.json").read_text().replace("IMAGE", image)
    return (text.replace('"only": []', f'"only": ["{only}"]') if only else text).encode()


def work(image: str, canary: str, *, epochs: int) -> Work:
    """The training job. The canary is a secret in its sealed environment."""
    return Work(
        facts=facts(image),
        command=("python3", "train.py", str(epochs)),
        environment=(("CANARY", canary),),
        files=(
            WorkFile(name="train.py", source=HERE / "train.py"),
            WorkFile(name="records.csv", source=RECORDS),
        ),
    )


class Watch:
    """What came home while the job ran, and what was searched meanwhile."""

    def __init__(self, system: Development, canary: str) -> None:
        self._system = system
        self._needles = search.forms(canary.encode())
        self.log = b""
        self.first_log_at = self.ended_at = 0.0
        self.runner = ""
        self.searched: asyncio.Task[tuple[list[str], list[str]]] | None = None

    def observe(self, item: Event | LogLine) -> None:
        """Called with each event and each piece of log."""
        if isinstance(item, LogLine):
            self.log += item.data
            if not self.first_log_at:
                self.first_log_at = time.monotonic()
                self.searched = asyncio.create_task(asyncio.to_thread(self._search))
        elif item.state.terminal:
            self.ended_at = time.monotonic()
        self.runner = getattr(item, "runner", "") or self.runner

    def _search(self) -> tuple[list[str], list[str]]:
        cage = [place for pid in search.of_user(CAGE_ACCOUNTS) for place in _memory(pid, self._needles)]
        return cage, self.in_gateway()

    def in_gateway(self) -> list[str]:
        """Where the canary is in the gateway's memory, files and logs."""
        found = [p for pid in search.descendants(self._system.gateway_pid) for p in _memory(pid, self._needles)]
        folders = (self._system.directory / "gateway", self._system.directory / "log")
        return found + list(search.in_files(folders, self._needles))


def _memory(pid: int, needles: tuple[bytes, ...]) -> list[str]:
    try:
        return list(search.in_memory(pid, needles))
    except (FileNotFoundError, ProcessLookupError):
        return []


async def permitted(report: Report, client: Client, system: Development, image: str) -> Outcome:
    """1 and 3: the job runs in a permitted country, and the gateway is blind."""
    report.title("1. Health data of German residents, to be trained on where the law permits")
    prepared = await client.prepare(facts(image))
    body = prepared.decided.body
    places = set(body.permitted)
    report.line(f"permitted in {len(places)} places: the EEA and adequate countries", {"DE", "FR", "JP"} <= places)
    report.line("not in the United States: no certified importer, clauses or binding rules", "US" not in places)
    canary = "canary-" + secrets.token_hex(16)
    watch = Watch(system, canary)
    outcome = await asyncio.wait_for(
        client.run(work(image, canary, epochs=2500), observe=watch.observe), JOB_SECONDS_MAX
    )
    receipt = outcome.receipt.receipt
    where = receipt.jurisdiction
    report.line(f"ran on {receipt.spiffe_id.split('/')[2]} in {where}, in a container", where in {"FR", "DE"})
    report.line("the job succeeded", receipt.exit_class is ExitClass.SUCCEEDED)
    weights = _json(outcome.results[0].data) if outcome.results else {}
    accuracy = float(weights.get("accuracy", 0))
    report.line(
        f"the client opened the weights: accuracy {accuracy:.4f} on {weights.get('tested')} records", accuracy > 0.93
    )
    early = 0 < watch.first_log_at < watch.ended_at - 1
    report.line("the sealed log came while it ran, and ends with the accuracy", early and b"accuracy" in watch.log)
    report.title("3. A canary in the payload")
    assert watch.searched is not None
    in_cage, in_gateway = await watch.searched
    report.line("the search finds it in the container, so the search works", bool(in_cage))
    report.line("it is not in the gateway's memory, files or logs while the job runs", not in_gateway)
    report.line("nor after the job", not await asyncio.to_thread(watch.in_gateway))
    return outcome


async def denied(report: Report, client: Client, system: Development, image: str) -> None:
    """2: the same job, limited to the United States."""
    report.title("2. The same job, limited to the United States")
    before = _stored(system)
    try:
        await client.run(
            Work(
                facts=facts(image, only="US"),
                command=("python3", "train.py", "100"),
                files=work(image, "", epochs=1).files,
            )
        )
    except Denied as error:
        reasons = [r for r in error.reasons if r.effect.value == "deny" and "US" in r.jurisdictions]
        cited = [f"{r.rule} ({', '.join(r.citations)})" for r in reasons]
        report.line("denied by " + "; ".join(cited), bool(reasons) and all(r.citations for r in reasons))
        fixes = [fix for r in reasons for fix in r.fix]
        report.line(f"it says what would make it permitted ({len(fixes)} ways)", bool(fixes))
    else:
        report.line("denied", False)
    report.line("no payload byte was sealed or sent", _stored(system) == before)


def offline(report: Report, outcome: Outcome, pins: Path) -> None:
    """The receipt, after everything was stopped."""
    report.title("The receipt, verified offline, with everything stopped")
    try:
        verified = proof.verify(proof.from_file(outcome.receipt_file), pins=load_pins(pins))
    except CarnetError as error:
        report.line(f"it verifies: {error.text}", False)
        return
    receipt, rules = verified.receipt, verified.dispatched.revisions.rules
    report.line(f"signed by {receipt.spiffe_id}", receipt.spiffe_id == str(verified.runner.id))
    report.line(f"image {receipt.image[:26]}…", receipt.image == verified.facts.image)
    report.line(
        f"in {receipt.jurisdiction}, which the decision permits", verified.dispatched.permits(receipt.jurisdiction)
    )
    report.line(f"decided under rules {rules[:23]}…", rules.startswith("sha256:"))
    report.line(f"leaf {verified.outcome_index} of the log commits to it", verified.outcome_index > 0)
    swapped = bytearray(outcome.receipt_file)
    swapped[len(swapped) // 2] ^= 1
    report.line(
        "one flipped bit is refused",
        _refused(lambda: proof.verify(proof.from_file(bytes(swapped)), pins=load_pins(pins))),
    )


def _refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except CarnetError:
        return True
    return False


def _stored(system: Development) -> list[str]:
    folders = (system.directory / "gateway" / "blobs", system.directory / "outbox")
    return sorted(str(path) for folder in folders for path in folder.rglob("*") if path.is_file())


def _json(data: bytes) -> dict[str, float]:
    import json

    return dict(json.loads(data))


def small(image: str, number: str, *, seconds: float, size: int = 0) -> Work:
    """A small job of the same hospital."""
    return Work(
        facts=facts(image),
        command=("python3", "spin.py", number, str(seconds), str(size)),
        files=(WorkFile(name="spin.py", source=HERE / "spin.py"),),
    )


async def worst_day(report: Report, system: Development, image: str) -> None:
    """4 and 5: what was accepted ends exactly once, whoever dies. Nobody else has a client meanwhile."""
    report.title("4. A runner dies, a runner hangs")
    await failures.runner_dies(report.line, system, small(image, "a", seconds=4))
    async with Client(load_context(system.context)) as client:
        await failures.runner_hangs(report.line, client, system, small(image, "b", seconds=1, size=40 * 2**20))
        report.title("5. The gateway is killed")
        pins = system.pki.pins
        await failures.gateway_dies(report.line, client, system, lambda number: small(image, number, seconds=2), pins)


async def main() -> int:
    """Run the demo."""
    image, binary = os.environ["CARNET_BASE_IMAGE"], os.environ.get("CARNET_OPA")
    opa = Path(binary) if binary else None
    report = Report()
    report.title("Carnet: one job crosses a border")
    digest = hashlib.sha256(RECORDS.read_bytes()).hexdigest()
    report.line("the records are the published ones", digest == RECORDS_SHA256)
    with tempfile.TemporaryDirectory(prefix="carnet-demo-") as folder:
        async with development(Path(folder), image=image, opa=opa, lease_seconds=10) as system:
            report.line(f"a gateway and runners in {', '.join(sorted(system.runner_pids))} are up", True)
            print(f"  {opa or 'the embedded engine'} decides", flush=True)
            async with Client(load_context(system.context)) as client:
                outcome = await permitted(report, client, system, image)
                await denied(report, client, system, image)
            await worst_day(report, system, image)
        offline(report, outcome, Path(folder) / "pki" / "pins.json")
    print(f"\n{'all hold' if not report.failed else f'{report.failed} FAILED'}", flush=True)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
