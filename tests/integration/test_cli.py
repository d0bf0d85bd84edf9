"""The command against a running system: what a person types, what comes back, and with which code."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from carnet import proof
from tests.fixtures.system import SYSTEM, CarnetDev

pytestmark = SYSTEM

COMMAND = Path(sys.executable).parent / "carnet"
COMMAND_SECONDS_MAX = 60.0
DECLARED = ("--data-class", "technical", "--origin", "DE", "--controlled", "no", "--memory", "96MiB", "--work", "16MiB")
PEOPLE = ("--data-class", "health", "--origin", "DE", "--controlled", "no", "--subjects", "DE", "--records", "569")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


async def started(dev: CarnetDev, *arguments: str | Path, cwd: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        cwd=cwd,
        env={**os.environ, **dev.environment, "NO_COLOR": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> Ended:
    async with asyncio.timeout(COMMAND_SECONDS_MAX):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in err
    return Ended(code=process.returncode, out=out.decode(), err=err.decode())


async def carnet(dev: CarnetDev, *arguments: str | Path, cwd: Path) -> Ended:
    return await ended(await started(dev, *arguments, cwd=cwd))


async def test_a_job_runs_from_the_shell_and_its_receipt_verifies_offline(
    carnet_dev: CarnetDev, tmp_path: Path
) -> None:
    (tmp_path / "numbers.txt").write_text("1 2 3")
    code = "import os, sys; n = open('numbers.txt').read(); print(n, os.environ['UNIT']); "
    code += "print('warned', file=sys.stderr); open('out/sum.txt', 'w').write('6')"
    command = ("--input", "numbers.txt", "--env", "UNIT=m", "--output", "home", "--", "python3", "-c", code)
    ran = await carnet(carnet_dev, "run", carnet_dev.image, *DECLARED, *command, cwd=tmp_path)
    assert (ran.code, ran.out) == (0, "1 2 3 m\n"), ran.err
    assert "warned\n" in ran.err
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["sum.txt"]
    assert (tmp_path / "home" / "sum.txt").read_text() == "6"

    name = next(line.split()[1] for line in ran.err.splitlines() if line.startswith("accepted "))
    pins = carnet_dev.running.pki.pins
    offline = await carnet(carnet_dev, "audit", "verify", "home.receipt", "--pins", pins, "-o", "json", cwd=tmp_path)
    proven = json.loads(offline.out)
    assert (offline.code, proven["verified"], proven["job"]) == (0, True, name)
    assert proven["jurisdiction"] in proven["permitted"]
    assert (proven["image"], proven["exit_class"], proven["exit_code"]) == (carnet_dev.image, "succeeded", 0)
    assert (await carnet(carnet_dev, "audit", "verify", "home.receipt", cwd=tmp_path)).code == 0

    listed = await carnet(carnet_dev, "job", "list", "-o", "name", cwd=tmp_path)
    assert name in listed.out.splitlines()
    got = json.loads((await carnet(carnet_dev, "job", "get", name.split("/")[3], "-o", "json", cwd=tmp_path)).out)
    assert (got["name"], got["state"], got["jurisdiction"]) == (name, "succeeded", proven["jurisdiction"])
    watched = await carnet(carnet_dev, "job", "watch", name, cwd=tmp_path)
    assert (watched.code, watched.out) == (0, "1 2 3 m\n")
    again = await carnet(carnet_dev, "job", "result", name, "--output", "again", cwd=tmp_path)
    assert (again.code, (tmp_path / "again" / "sum.txt").read_text()) == (0, "6")
    assert (tmp_path / "again.receipt").read_bytes() == (tmp_path / "home.receipt").read_bytes()


async def test_attack_a_receipt_that_was_altered_or_is_held_against_other_pins_does_not_verify(
    carnet_dev: CarnetDev, tmp_path: Path
) -> None:
    ran = await carnet(
        carnet_dev, "run", carnet_dev.image, *DECLARED, "--receipt", "r", "--", "python3", "-c", "pass", cwd=tmp_path
    )
    assert ran.code == 0, ran.err
    assert (await carnet(carnet_dev, "audit", "verify", "r", cwd=tmp_path)).code == 0, "the control: it verifies"
    message = proof.from_file((tmp_path / "r").read_bytes())
    altered = message.receipt.payload[:-1] + bytes([message.receipt.payload[-1] ^ 1])
    message.receipt.payload = altered
    (tmp_path / "altered").write_bytes(proof.to_file(message))
    refused = await carnet(carnet_dev, "audit", "verify", "altered", "-o", "json", cwd=tmp_path)
    assert (refused.code, json.loads(refused.out)["verified"]) == (1, False)
    assert "SIGNATURE_INVALID" in refused.err

    pins = json.loads(carnet_dev.running.pki.pins.read_text())
    runner = json.loads((await carnet(carnet_dev, "audit", "verify", "r", "-o", "json", cwd=tmp_path)).out)["runner"]
    pins["operators"] = [o for o in pins["operators"] if o["trust_domain"] not in runner]
    (tmp_path / "pins.json").write_text(json.dumps(pins))
    foreign = await carnet(carnet_dev, "audit", "verify", "r", "--pins", "pins.json", cwd=tmp_path)
    assert (foreign.code, foreign.out) == (1, "")
    assert "DOES NOT HOLD" in foreign.err


async def test_a_denial_names_rule_citation_and_next_step_and_ends_with_3(
    carnet_dev: CarnetDev, tmp_path: Path
) -> None:
    asked = ("run", carnet_dev.image, *PEOPLE, "--only", "US", "--output", "home", "--", "true")
    denied = await carnet(carnet_dev, *asked, cwd=tmp_path)
    assert (denied.code, denied.out) == (3, "")
    assert "DENIED by EU-GDPR-CHV" in denied.err
    assert "cites C-GDPR-46" in denied.err
    assert "were it not for EU-GDPR-CHV: US" in denied.err
    assert "next: " in denied.err
    assert os.listdir(tmp_path) == []

    facts = await carnet(carnet_dev, *asked[:-2], "--print-facts", "--", "true", cwd=tmp_path)
    (tmp_path / "facts.json").write_text(facts.out)
    dry = await carnet(carnet_dev, "job", "prepare", "--facts", "facts.json", "-o", "json", cwd=tmp_path)
    document = json.loads(dry.out)
    assert (dry.code, document["verdict"], document["would_permit"]["EU-GDPR-CHV"]) == (3, "deny", ["US"])
    listed = json.loads((await carnet(carnet_dev, "job", "list", "-o", "json", cwd=tmp_path)).out)
    assert all(job["state"] != "denied" for job in listed), "a denied job was never a job"


async def test_a_job_that_fails_ends_with_1_and_one_that_takes_too_long_with_124(
    carnet_dev: CarnetDev, tmp_path: Path
) -> None:
    failed = await carnet(
        carnet_dev, "run", carnet_dev.image, *DECLARED, "--", "python3", "-c", "raise SystemExit(3)", cwd=tmp_path
    )
    assert (failed.code, "exit code 3" in failed.err) == (1, True), failed.err
    slow = ("--", "python3", "-c", "import time; time.sleep(30)")
    late = await carnet(carnet_dev, "run", carnet_dev.image, *DECLARED, "--seconds", "1", *slow, cwd=tmp_path)
    assert late.code == 124, late.err


async def test_an_interrupt_cancels_the_job_and_ends_with_130(carnet_dev: CarnetDev, tmp_path: Path) -> None:
    code = "import time; print('up', flush=True); time.sleep(25)"
    process = await started(carnet_dev, "run", carnet_dev.image, *DECLARED, "--", "python3", "-c", code, cwd=tmp_path)
    assert process.stdout is not None
    async with asyncio.timeout(COMMAND_SECONDS_MAX):
        assert await process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    stopped = await ended(process)
    assert stopped.code == 130, stopped.err
    name = next(line.split()[1] for line in stopped.err.splitlines() if line.startswith("accepted "))
    watched = await carnet(carnet_dev, "job", "watch", name, "--timeout", "20", cwd=tmp_path)
    assert watched.code == 1
    got = json.loads((await carnet(carnet_dev, "job", "get", name, "-o", "json", cwd=tmp_path)).out)
    assert got["state"] == "cancelled"
    assert (await carnet(carnet_dev, "job", "cancel", name, cwd=tmp_path)).code == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [({"token": "nothing.jwt"}, 5), ({"gateway": "127.0.0.1:9"}, 6), ({"tenant_id": "zz"}, 2)],
    ids=["no token", "no gateway", "no tenant"],
)
async def test_what_is_missing_is_told_by_its_code(
    carnet_dev: CarnetDev, tmp_path: Path, change: dict[str, str], code: int
) -> None:
    fields = json.loads(carnet_dev.context.read_text())
    (tmp_path / "context.json").write_text(json.dumps(fields | change))
    listed = await carnet(carnet_dev, "job", "list", "--context", "context.json", cwd=tmp_path)
    assert (listed.code, listed.out) == (code, "")
    checked = await carnet(carnet_dev, "doctor", "--context", "context.json", cwd=tmp_path)
    assert checked.code == code
    assert "missing" in checked.out


async def test_the_doctor_finds_nothing_missing_in_a_running_system_and_prints_no_secret(
    carnet_dev: CarnetDev, tmp_path: Path
) -> None:
    checked = await carnet(carnet_dev, "doctor", "-o", "json", cwd=tmp_path)
    assert checked.code == 0, checked.out
    assert {found["name"]: found["state"] for found in json.loads(checked.out)}["gateway"] == "ok"
    token = carnet_dev.load().token.read_text().strip()
    assert token
    assert token not in checked.out + checked.err


async def test_a_job_that_is_not_there_ends_with_4(carnet_dev: CarnetDev, tmp_path: Path) -> None:
    assert (await carnet(carnet_dev, "job", "get", "0" * 32, cwd=tmp_path)).code == 4


async def test_why_not_there_and_why_not_on_this_runner_is_answered_by_the_gateways_policy(
    carnet_dev: CarnetDev, tmp_path: Path
) -> None:
    printed = await carnet(carnet_dev, "run", carnet_dev.image, *PEOPLE, "--print-facts", "--", "true", cwd=tmp_path)
    (tmp_path / "facts.json").write_text(printed.out)
    asked = ("--facts", "facts.json", "-o", "json")
    prepared = json.loads((await carnet(carnet_dev, "job", "prepare", *asked, cwd=tmp_path)).out)
    american = next(found["runner"] for found in prepared["rejected"] if found["jurisdiction"] == "US")

    why = await carnet(carnet_dev, "job", "explain", "US", "FR", "--runner", american, *asked, cwd=tmp_path)
    assert why.code == 3, why.err
    found = json.loads(why.out)
    assert [(place["place"], place["permitted"]) for place in found["places"]] == [("US", False), ("FR", True)]
    assert "EU-GDPR-CHV" in [denial["rule"] for denial in found["places"][0]["denials"]]
    (runner,) = found["runners"]
    assert (runner["runner"], runner["reason"]) == (american, "JURISDICTION_NOT_PERMITTED")
    assert "EU-GDPR-CHV" in [denial["rule"] for denial in runner["denials"]]
    assert all(denial["text"] and denial["citations"] for denial in runner["denials"])

    words = await carnet(carnet_dev, "job", "explain", "FR", "--facts", "facts.json", cwd=tmp_path)
    assert (words.code, words.out) == (0, "FR: permitted\n")
    nobody = await carnet(
        carnet_dev, "job", "explain", "--runner", "spiffe://x.example/j/FR/runner/1", *asked, cwd=tmp_path
    )
    assert json.loads(nobody.out)["runners"][0]["reason"] == "NOT_ATTACHED"
    neither = await carnet(carnet_dev, "job", "explain", "FR", cwd=tmp_path)
    assert neither.code == 2
