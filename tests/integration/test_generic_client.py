"""A generic client, `buf curl`, calls the gateway over mutual TLS, knowing only what reflection tells it."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from carnet.pins import load_pins
from tests.fixtures.system import SYSTEM, CarnetDev

pytestmark = SYSTEM

Curl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def curl(carnet_dev: CarnetDev, tmp_path: Path) -> Curl:
    context = carnet_dev.load()
    pins = json.loads(carnet_dev.running.pki.pins.read_bytes())
    authority = tmp_path / "ca.pem"
    authority.write_text(pins["gateway"]["ca"])
    buf = Path(sys.executable).parent / "buf"
    name = load_pins(carnet_dev.running.pki.pins).gateway.server_name
    token = "Authorization: Bearer " + context.token.read_text().strip()

    def call(
        path: str, *arguments: str, timeout: str = "20s", token: str = token
    ) -> "subprocess.CompletedProcess[str]":
        # The token goes through a file: an argument would show it to every process here.
        headers = tmp_path / "headers"
        headers.write_text(token + "\n")
        own = ["--timeout", timeout] if timeout else []
        return subprocess.run(
            [
                str(buf), "curl", "--protocol", "grpc", "--cacert", str(authority), "--servername", name,
                "--cert", str(context.certificate), "--key", str(context.key),
                "--header", f"@{headers}", "--reflect-header", f"@{headers}", *own, *arguments,
                f"https://{context.gateway}{path}",
            ],
            capture_output=True, text=True, timeout=60, cwd=tmp_path,
        )  # fmt: skip

    return call


def test_reflection_lists_the_services(curl: Curl) -> None:
    found = curl("", "--list-services")
    assert found.returncode == 0, found.stderr
    assert {"carnet.v1.Jobs", "grpc.health.v1.Health"} <= set(found.stdout.split())


def test_a_generic_client_prepares_a_job(curl: Curl, carnet_dev: CarnetDev) -> None:
    body = json.dumps({"facts": base64.b64encode(carnet_dev.facts()).decode()})
    answer = curl("/carnet.v1.Jobs/PrepareJob", "-d", body)
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    assert json.loads(base64.b64decode(document["decision"]["body"]))["verdict"] == "permit"
    assert len(document["candidates"]) == 3


def test_a_generic_client_that_gives_no_deadline_is_told_so(curl: Curl, carnet_dev: CarnetDev) -> None:
    body = json.dumps({"facts": base64.b64encode(carnet_dev.facts()).decode()})
    answer = curl("/carnet.v1.Jobs/PrepareJob", "-d", body, timeout="")
    assert answer.returncode != 0
    said = json.loads(answer.stderr)
    assert (said["code"], said["details"][0]["type"]) == ("invalid_argument", "google.rpc.ErrorInfo")
    assert b"DEADLINE_REQUIRED" in base64.b64decode(said["details"][0]["value"] + "==")


def test_attack_a_generic_client_without_a_token(curl: Curl) -> None:
    answer = curl("/carnet.v1.Jobs/ListJobs", "-d", "{}", token="X-Nothing: 1")
    assert answer.returncode != 0
    assert "unauthenticated" in answer.stderr.lower()
    assert curl("/carnet.v1.Jobs/ListJobs", "-d", "{}").returncode == 0, "the control: with a token it is answered"


def test_what_the_protos_refuse_is_refused_by_field(curl: Curl) -> None:
    answer = curl("/carnet.v1.Jobs/GetJob", "-d", '{"name": "tenants/1/jobs/2"}')
    assert answer.returncode != 0
    assert "name" in answer.stderr
