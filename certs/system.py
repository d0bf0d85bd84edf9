"""A whole Carnet on one machine, each role a process of its own, on loopback. For development, demo and tests only.

It makes a development PKI, then starts the operators' status signer, the gateway (with a policy engine of its own) and
a runner in each country, and renews the client's token. Parts can be killed, paused and started again: a gateway that
starts again listens where it listened before.

    async with development(directory, image=image, opa=opa) as system:
        async with Client(load_context(system.context)) as client: ...
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from certs import issuer
from certs.development import CLIENT, DevelopmentPki, build
from certs.processes import Processes, StartFailed

AUDIENCE: Final = "carnet"
ready_seconds: Final = 90.0
token_renew_seconds: Final = 240.0

DEVELOPER: Final = "developer"
# Who there is at the tenant, with the roles in their tokens: one who sends jobs, one who writes rules, two who approve.
PEOPLE: Final[dict[str, tuple[str, ...]]] = {
    DEVELOPER: ("compliance",),
    "ada": ("compliance", "policy.author"),
    "ben": ("compliance", "policy.approver", "job.approver"),
    "eve": ("compliance", "policy.approver", "job.approver"),
}
PRICES: Final = {"FR": 120, "DE": 140, "US": 60}


@dataclass(kw_only=True)
class Development:
    """What runs, and where."""

    directory: Path
    pki: DevelopmentPki
    image: str
    opa: Path | None
    lease_seconds: int
    processes: Processes
    addresses: dict[str, str] = field(default_factory=dict)

    @property
    def context(self) -> Path:
        """The client's context file."""
        return self.directory / "context.json"

    @property
    def enterprise(self) -> str:
        """Where enterprises call."""
        return self.addresses["enterprise"]

    @property
    def runner(self) -> str:
        """Where runners call."""
        return self.addresses["runner"]

    @property
    def metrics(self) -> str:
        """Where Prometheus reads."""
        return self.addresses["metrics"]

    @property
    def gateway_pid(self) -> int:
        """The gateway's process."""
        return self.processes.pid("gateway")

    @property
    def places(self) -> tuple[str, ...]:
        """The countries of the runners."""
        return tuple(runner.id.jurisdiction for runner in self.pki.runners)

    @property
    def runner_pids(self) -> dict[str, int]:
        """The runners' processes, by country."""
        return {place: self.processes.pid(runner_name(place)) for place in self.places}

    async def start_gateway(self) -> None:
        """Start the gateway, where it listened before if it did. Raises `StartFailed`."""
        config, ready = self.directory / "gateway.toml", self.directory / "gateway.ready.json"
        config.write_text(self._gateway_config())
        ready.unlink(missing_ok=True)
        await self.processes.start("gateway", "-m", "gateway", "--config", str(config), "--ready", str(ready))
        await self._until(ready.exists, "the gateway")
        self.addresses = {str(name): str(value) for name, value in json.loads(ready.read_text()).items()}

    async def start_runner(self, place: str) -> None:
        """Start the runner of a country. It attaches by itself; `attached` waits for that."""
        config = self.directory / f"runner-{place}.toml"
        config.write_text(self._runner_config(place))
        await self.processes.start(runner_name(place), "-m", "sandbox", "--config", str(config))

    async def attached(self, count: int) -> None:
        """Wait until so many runners are attached. Raises `StartFailed`."""
        async with self._deadline(f"{count} runners"):
            while await self.metric("carnet_runners") < count:
                self.processes.check()
                await asyncio.sleep(0.1)

    async def kill(self, name: str) -> None:
        """SIGKILL the gateway or a runner (`runner_name`)."""
        await self.processes.kill(name)

    def pause(self, name: str) -> None:
        """SIGSTOP a process."""
        self.processes.signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT a process."""
        self.processes.signal(name, signal.SIGCONT)

    async def metric(self, name: str, label: str = "") -> float:
        """A number that the gateway shows, summed over the labels that hold this text; 0 where it does not."""
        host, _, port = self.metrics.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
            text = (await reader.read()).decode()
        finally:
            writer.close()
        lines = (line for line in text.splitlines() if line.startswith((name + " ", name + "{", name + "_total")))
        return sum(float(line.rpartition(" ")[2]) for line in lines if label in line)

    async def _until(self, there: Callable[[], bool], what: str) -> None:
        async with self._deadline(what):
            while not there():
                self.processes.check()
                await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def _deadline(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(ready_seconds):
                yield
        except TimeoutError:
            self.processes.check()
            raise StartFailed(f"{what} did not come up in {ready_seconds:.0f} seconds") from None

    def _gateway_config(self) -> str:
        home, issuing = self.pki.directory / "gateway", self.pki.directory / "issuer"
        tls = f'certificate = "{home}/server.pem"\nkey = "{home}/server.key.pem"\n'

        policy = f'opa = "{self.opa}"' if self.opa else 'engine = "embedded"'

        def listen(name: str) -> str:
            return f'listen = "{self.addresses.get(name, "127.0.0.1:0")}"\n'

        return (
            f'pins = "{self.pki.pins}"\nstate = "{self.directory}/gateway"\nreflection = true\n'
            f"[enterprise]\n{listen('enterprise')}{tls}[runner]\n{listen('runner')}{tls}"
            f"[metrics]\n{listen('metrics')}"
            f'[keys]\ndecision = "{home}/decision.key.pem"\nlog = "{home}/log.key.pem"\npage = "{home}/page.key"\n'
            f'policy = "{home}/policy.key.pem"\n'
            f"[policy]\n{policy}\n[lease]\nseconds = {self.lease_seconds}\n"
            f'[tokens]\naudience = "{AUDIENCE}"\nissuer = "{issuer.ISSUER}"\njwks = "{issuing}/jwks.json"\n'
        )

    def _runner_config(self, place: str) -> str:
        index = self.places.index(place)
        home = self.pki.runners[index].directory
        return (
            f'gateway = "{self.runner}"\npins = "{self.pki.pins}"\nchain = "{home}/chain.pem"\n'
            f'key = "{home}/key.pem"\nstatus = "{home}/status.stmt"\nownership = "{home}/ownership.stmt"\n'
            f'state = "{self.directory}/{runner_name(place)}"\nimages = ["*"]\n'
            f'probe_image = "{self.image}"\nslots = 2\n'
            f"uid_first = {70_000 + 100 * index}\nprice_micro_usd_second = {PRICES.get(place, 100)}\n"
        )


def runner_name(place: str) -> str:
    """The name of the process of a country's runner."""
    return f"runner-{place}"


@contextlib.asynccontextmanager
async def development(
    directory: Path, *, image: str, opa: Path | None, lease_seconds: int = 60
) -> AsyncIterator[Development]:
    """Everything up, for as long as the block lasts; without an OPA on the embedded engine. Raises `StartFailed`."""
    directory = await asyncio.to_thread(directory.resolve)
    pki = await asyncio.to_thread(build, directory / "pki", now=datetime.now(UTC))
    async with contextlib.AsyncExitStack() as stack:
        processes = Processes(directory / "log")
        stack.push_async_callback(processes.stop)
        await processes.start("status", "-m", "certs.development", "status", str(pki.directory))
        renewing = asyncio.create_task(_renew_tokens(pki), name="tokens")
        stack.callback(renewing.cancel)
        system = Development(
            directory=directory,
            pki=pki,
            image=image,
            opa=opa,
            lease_seconds=lease_seconds,
            processes=processes,
        )
        await system.start_gateway()
        for place in system.places:
            await system.start_runner(place)
        await system.attached(len(system.places))
        await _write_contexts(system)
        yield system


async def _write_contexts(system: Development) -> None:
    tenant, template_digest = system.pki.directory / "tenant", await _template_digest()
    fields = {
        "gateway": system.enterprise,
        "pins": str(system.pki.pins),
        "certificate": str(tenant / "client.pem"),
        "key": str(tenant / "client.key.pem"),
        "signing_key": str(tenant / "signing.key.pem"),
        "key_set": str(tenant / "key-set.stmt"),
        "master_key": str(tenant / "master.key"),
        "tenant_id": system.pki.tenant_id.hex(),
        "template_digest": template_digest,
        "outbox": str(system.directory / "outbox"),
    }
    for person in PEOPLE:
        path = system.directory / f"{person}.json" if person != DEVELOPER else system.context
        path.write_text(json.dumps({**fields, "token": str(_token(system.pki, person))}, indent=2) + "\n")


async def _template_digest() -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", "--template", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise StartFailed("the sandbox did not say its profile's digest")
    return out.decode().strip()


async def _renew_tokens(pki: DevelopmentPki) -> None:
    while True:
        write_tokens(pki)
        await asyncio.sleep(token_renew_seconds)


def write_tokens(pki: DevelopmentPki) -> None:
    """A fresh token for each of the tenant's people, each whole or not at all."""
    certificate = (pki.directory / "tenant" / "client.pem").read_bytes()
    for person, roles in PEOPLE.items():
        token = issuer.mint(
            pki.directory / "issuer",
            client_id=CLIENT,
            audience=AUDIENCE,
            certificate_pem=certificate,
            now=datetime.now(UTC),
            subject=person,
            roles=roles,
        )
        path = _token(pki, person)
        partial = path.with_suffix(".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token)
        partial.rename(path)


def _token(pki: DevelopmentPki, person: str) -> Path:
    return pki.directory / ("token.jwt" if person == DEVELOPER else f"token-{person}.jwt")
