"""`carnet dev`: everything on one machine, each role a process of its own, on loopback. For development only.

It makes a development PKI, then starts the operators' status signer, the gateway (with a policy engine of its own) and
one runner in each of the three countries, and renews the client's token. It stops what it started, by pid.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import cyclopts
from rich.console import Console

from certs import issuer
from certs.development import CLIENT, DevelopmentPki, build

AUDIENCE: Final = "carnet"
ready_seconds: Final = 90.0
token_renew_seconds: Final = 240.0
stop_seconds: Final = 20.0
PRICES: Final = {"FR": 120, "DE": 140, "US": 60}

app = cyclopts.App(name="dev", help="Everything on one machine, for development.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Development:
    """What runs, and where."""

    pki: DevelopmentPki
    directory: Path
    context: Path
    enterprise: str
    runner: str
    metrics: str
    gateway_pid: int
    runner_pids: dict[str, int]


class StartFailed(RuntimeError):
    """A process did not come up; its last words are in its log."""


@app.default
async def dev(
    *,
    directory: Annotated[Path, cyclopts.Parameter(help="Where everything is kept.")] = Path(".carnet"),
    image: Annotated[str, cyclopts.Parameter(env_var="CARNET_BASE_IMAGE", help="An image with python3.")],
    opa: Annotated[Path | None, cyclopts.Parameter(env_var="CARNET_OPA", help="The OPA binary.")] = None,
) -> int:
    """Start everything, say where it listens, and serve until Ctrl-C."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    console = Console(stderr=True)
    try:
        async with development(directory, image=image, opa=opa) as running:
            _announce(console, running, image)
            await stop.wait()
    except StartFailed as error:
        console.print(f"carnet dev: {error}")
        return 6
    return 0


@contextlib.asynccontextmanager
async def development(directory: Path, *, image: str, opa: Path | None = None) -> AsyncIterator[Development]:
    """Everything up, for as long as the block lasts. Raises `StartFailed`."""
    directory = await asyncio.to_thread(directory.resolve)
    pki = await asyncio.to_thread(build, directory / "pki", now=datetime.now(UTC))
    binary = opa or _find("opa")
    async with contextlib.AsyncExitStack() as stack:
        processes = _Processes(directory / "log")
        stack.push_async_callback(processes.stop)
        await processes.start("status", "-m", "certs.development", "status", str(pki.directory))
        renewing = asyncio.create_task(_renew_token(pki), name="token")
        stack.callback(renewing.cancel)
        addresses = await start_gateway(processes, directory, pki, binary)
        pids = {
            runner.id.jurisdiction: await start_runner(processes, directory, pki, index, addresses["runner"], image)
            for index, runner in enumerate(pki.runners)
        }
        await _attached(addresses["metrics"], len(pids), processes)
        context = await _write_context(directory, pki, addresses["enterprise"])
        yield Development(
            pki=pki,
            directory=directory,
            context=context,
            enterprise=addresses["enterprise"],
            runner=addresses["runner"],
            metrics=addresses["metrics"],
            gateway_pid=processes.pid("gateway"),
            runner_pids=pids,
        )


async def start_gateway(processes: "_Processes", directory: Path, pki: DevelopmentPki, opa: Path) -> dict[str, str]:
    """Start the gateway; where it listens. Raises `StartFailed`."""
    config = directory / "gateway.toml"
    home = pki.directory / "gateway"
    listener = f'listen = "127.0.0.1:0"\ncertificate = "{home}/server.pem"\nkey = "{home}/server.key.pem"\n'
    config.write_text(
        f'pins = "{pki.pins}"\nstate = "{directory}/gateway"\nreflection = true\n'
        f"[enterprise]\n{listener}[runner]\n{listener}"
        f'[keys]\ndecision = "{home}/decision.key.pem"\nlog = "{home}/log.key.pem"\npage = "{home}/page.key"\n'
        f'[policy]\nopa = "{opa}"\n'
        f'[tokens]\naudience = "{AUDIENCE}"\nissuer = "{issuer.ISSUER}"\n'
        f'jwks = "{pki.directory}/issuer/jwks.json"\n'
    )
    ready = directory / "gateway.ready.json"
    ready.unlink(missing_ok=True)
    await processes.start("gateway", "-m", "gateway", "--config", str(config), "--ready", str(ready))
    async with _deadline("the gateway", processes):
        while not ready.exists():
            processes.check()
            await asyncio.sleep(0.1)
    return {str(name): str(value) for name, value in json.loads(ready.read_text()).items()}


async def start_runner(
    processes: "_Processes", directory: Path, pki: DevelopmentPki, index: int, gateway: str, image: str
) -> int:
    """Start one runner; its pid."""
    runner = pki.runners[index]
    place, home = runner.id.jurisdiction, runner.directory
    config = directory / f"runner-{place}.toml"
    config.write_text(
        f'gateway = "{gateway}"\npins = "{pki.pins}"\nchain = "{home}/chain.pem"\nkey = "{home}/key.pem"\n'
        f'status = "{home}/status.stmt"\nownership = "{home}/ownership.stmt"\nstate = "{directory}/runner-{place}"\n'
        f'probe_image = "{image}"\nslots = 2\nuid_first = {70_000 + 100 * index}\n'
        f"price_micro_usd_second = {PRICES.get(place, 100)}\n"
    )
    await processes.start(f"runner-{place}", "-m", "sandbox", "--config", str(config))
    return processes.pid(f"runner-{place}")


class _Processes:
    """The processes of one development set-up, each with its log."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._logs = logs
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str, *arguments: str) -> None:
        """Start a Python process under a name."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def pid(self, name: str) -> int:
        """The pid of a process."""
        return self._running[name].pid

    def check(self) -> None:
        """Raise `StartFailed` where a process has ended."""
        for name, process in self._running.items():
            if process.returncode is not None:
                words = (self._logs / f"{name}.log").read_text(errors="replace").strip().splitlines()[-3:]
                raise StartFailed(f"{name} ended with code {process.returncode}: " + " | ".join(words))

    async def stop(self) -> None:
        """Stop all of them, last first; one that does not go is killed."""
        for process in reversed(self._running.values()):
            if process.returncode is None:
                process.terminate()
        for process in self._running.values():
            try:
                await asyncio.wait_for(process.wait(), stop_seconds)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _attached(metrics: str, count: int, processes: _Processes) -> None:
    async with _deadline("the runners", processes):
        while await _gauge(metrics, "carnet_runners") < count:
            processes.check()
            await asyncio.sleep(0.2)


async def _gauge(address: str, name: str) -> float:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        text = (await reader.read()).decode()
    finally:
        writer.close()
    return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " ")), 0.0)


@contextlib.asynccontextmanager
async def _deadline(what: str, processes: _Processes) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(ready_seconds):
            yield
    except TimeoutError:
        processes.check()
        raise StartFailed(f"{what} did not come up in {ready_seconds:.0f} seconds") from None


async def _write_context(directory: Path, pki: DevelopmentPki, enterprise: str) -> Path:
    tenant = pki.directory / "tenant"
    context = directory / "context.json"
    fields = {
        "gateway": enterprise,
        "pins": str(pki.pins),
        "certificate": str(tenant / "client.pem"),
        "key": str(tenant / "client.key.pem"),
        "token": str(pki.directory / "token.jwt"),
        "signing_key": str(tenant / "signing.key.pem"),
        "key_set": str(tenant / "key-set.stmt"),
        "master_key": str(tenant / "master.key"),
        "tenant_id": pki.tenant_id.hex(),
        "template_digest": await _template_digest(),
        "outbox": str(directory / "outbox"),
    }
    context.write_text(json.dumps(fields, indent=2) + "\n")
    return context


async def _template_digest() -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", "--template", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise StartFailed("the sandbox did not say its profile's digest")
    return out.decode().strip()


async def _renew_token(pki: DevelopmentPki) -> None:
    while True:
        write_token(pki)
        await asyncio.sleep(token_renew_seconds)


def write_token(pki: DevelopmentPki) -> None:
    """A fresh token for the development client, whole or not at all."""
    token = issuer.mint(
        pki.directory / "issuer",
        client_id=CLIENT,
        audience=AUDIENCE,
        certificate_pem=(pki.directory / "tenant" / "client.pem").read_bytes(),
        now=datetime.now(UTC),
    )
    partial = pki.directory / "token.jwt.partial"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token)
    partial.rename(pki.directory / "token.jwt")


def _find(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise StartFailed(f"{name} is not on PATH; `./dev` brings it, or name it with --{name}")
    return Path(found)


def _announce(console: Console, running: Development, image: str) -> None:
    lines: Sequence[str] = (
        "",
        "[bold]carnet dev[/bold]: for development only. All keys of all parties are in one folder.",
        f"  enterprises  {running.enterprise}   (mTLS and a token)",
        f"  runners      {running.runner}   (mTLS): " + ", ".join(sorted(running.runner_pids)),
        f"  metrics      http://{running.metrics}/metrics",
        f"  context      {running.context}",
        "",
        "  Try:",
        f"  carnet run --context {running.context} {image} --data-class technical --origin DE -- python3 -c 'print(1)'",
        "",
    )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
