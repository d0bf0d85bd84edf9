"""Docker: runs a cage on a Docker engine. The only file that talks to Docker.

- The low-level client only: it returns the engine's warnings, and any warning is a refusal.
- Every blocking call runs in a thread, on a connection of its own, with a time limit of its own.
- Each failure of client, transport or engine is SandboxUnavailable; the engine's text goes to the operator only.
- The container's proxies, config files and defaults of the client never enter: the create request is ours, whole.
- Images are ids or repo@digest, never tags. An image with volumes is refused; what was created is compared with it.
- No archive calls and no exec: the one writes plaintext to the engine's disk, the other escapes the account.

    engine = DockerEngine(None)                 # DOCKER_HOST, else the usual socket
    facts = await engine.probe(image_id=..., uid=70001, isolation=Isolation.CONTAINER)
    outcome = await engine.run(spec, stdin=..., sink=..., caps=..., timeout_seconds=..., stop=Stop())
"""

import asyncio
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from docker import APIClient
from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import RequestException

from carnet.core.errors import ImageDigestRequired, ImageNotAllowed, SandboxUnavailable
from carnet.core.runner import Isolation
from sandbox.attachment import Attachment
from sandbox.attempt import Attempt
from sandbox.cage import RUNTIMES, Caps, ContainerSpec
from sandbox.outcome import Outcome, Sink, Stop
from sandbox.probe import IsolationFacts, Probe
from sandbox.verdict import check_image, verify

T = TypeVar("T")

DEFAULT_HOST: Final = "unix:///var/run/docker.sock"
API_VERSION_LEAST: Final = "1.41"
call_seconds: Final = 20.0
start_seconds: Final = 60.0
threads_max: Final = 64

_IMAGE_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")
_REPO_DIGEST: Final = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,254}@sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What the engine says of itself. `limits` says which of memory, swap, pids and cpu it can hold."""

    version: str
    kernel: str
    cgroup_version: str
    security: tuple[str, ...]
    runtimes: tuple[str, ...]
    limits: Mapping[str, bool]

    def check(self, isolation: Isolation) -> None:
        """Raise SandboxUnavailable unless the engine has this level's runtime, seccomp, and every limit."""
        missing = [name for name, there in self.limits.items() if not there]
        if RUNTIMES.get(isolation) not in self.runtimes:
            missing.append(f"runtime for {isolation}")
        if not any(option.startswith("name=seccomp") for option in self.security):
            missing.append("seccomp")
        if missing:
            raise SandboxUnavailable(detail="the engine lacks: " + ", ".join(missing))


class DockerEngine:
    """A Docker engine behind a unix socket. `clock` gives nanoseconds since 1970."""

    def __init__(self, host: str | None, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._host = host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        if not self._host.startswith("unix://"):
            raise SandboxUnavailable("The sandbox engine must be on a unix socket: plaintext does not leave the host.")
        self._clock = clock
        self._version = ""
        self._threads = ThreadPoolExecutor(threads_max, thread_name_prefix="engine")

    def close(self) -> None:
        """Take no more calls."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def facts(self) -> EngineFacts:
        """What the engine says of itself. Raises SandboxUnavailable."""
        info = await self._call(lambda api: api.info())
        limits = {"memory": "MemoryLimit", "swap": "SwapLimit", "pids": "PidsLimit", "cpu": "CpuCfsQuota"}
        return EngineFacts(
            version=str(info.get("ServerVersion", "")),
            kernel=str(info.get("KernelVersion", "")),
            cgroup_version=str(info.get("CgroupVersion", "")),
            security=tuple(sorted(info.get("SecurityOptions") or ())),
            runtimes=tuple(sorted(info.get("Runtimes") or ())),
            limits={name: info.get(key) is True for name, key in limits.items()},
        )

    async def image_id(self, reference: str) -> str:
        """The id of a local image named by repo@sha256 or by its own id.

        Raises ImageDigestRequired for a tag, ImageNotAllowed for one that is absent, another, or not acceptable.
        """
        if not _IMAGE_ID.fullmatch(reference) and not _REPO_DIGEST.fullmatch(reference):
            raise ImageDigestRequired
        image = await self._image(reference)
        digests = {str(d).partition("@")[2] for d in image.get("RepoDigests") or ()}  # type: ignore[attr-defined]
        found = str(image.get("Id"))
        if reference != found and reference.partition("@")[2] not in digests:
            raise ImageNotAllowed(detail="the engine gave another image than was named")
        return found

    async def run(
        self,
        spec: ContainerSpec,
        *,
        stdin: AsyncIterator[bytes],
        sink: Sink,
        caps: Caps,
        timeout_seconds: float,
        stop: Stop,
    ) -> Outcome:
        """Run one cage to its end. Raises SandboxUnavailable if it never started; see `sandbox/attempt.py`."""
        attempt = Attempt(
            self,
            spec,
            stdin=stdin,
            sink=sink,
            caps=caps,
            timeout_seconds=timeout_seconds,
            stop=stop,
            clock=self._clock,
        )
        return await attempt.run()

    async def probe(self, *, image_id: str, uid: int, isolation: Isolation) -> IsolationFacts:
        """Try the profile out with a probe in a real cage. Raises SandboxUnavailable, naming all that does not hold."""
        facts = await self.facts()
        facts.check(isolation)
        named = (
            f"engine={facts.version}",
            f"kernel={facts.kernel}",
            f"cgroup=v{facts.cgroup_version}",
            *facts.security,
        )
        return await Probe(self, image_id=image_id, uid=uid, isolation=isolation).run(named)

    async def remove_orphans(self, *, label: str, value: str) -> tuple[str, ...]:
        """Kill and remove every container that carries this label and value. Returns their ids."""
        query = {"label": f"{label}={value}"}
        found = await self._call(lambda api: api.containers(all=True, filters=query))
        for container in found:
            await self.remove(str(container["Id"]))
        return tuple(str(container["Id"]) for container in found)

    # --- what an attempt asks for: sandbox/attempt.py, Containers ---

    async def create(self, spec: ContainerSpec) -> str:
        """Create and verify; what does not verify is removed again."""
        image = await self._image(spec.image_id)
        body = spec.request()
        created = await self._call(
            lambda api: api.create_container_from_config(body),  # type: ignore[no-untyped-call]  # its stub has none
            seconds=start_seconds,
        )
        container = str(created["Id"])
        try:
            if created.get("Warnings"):
                raise SandboxUnavailable(detail=f"the engine warns: {created['Warnings']}"[:512])
            verify(spec, await self._call(lambda api: api.inspect_container(container)), image)
        except SandboxUnavailable:
            await self.remove(container)
            raise
        return container

    async def attach(self, container: str) -> Attachment:
        """Both directions, before the start."""
        return await self._in_thread(lambda: self._attach(container))

    async def start(self, container: str) -> None:
        """Start it."""
        await self._call(lambda api: api.start(container), seconds=start_seconds)

    async def wait(self, container: str, *, seconds: float) -> int:
        """Its exit code, once it has ended."""
        answer = await self._call(lambda api: api.wait(container, timeout=int(seconds)), seconds=seconds)
        return int(answer["StatusCode"])

    async def state(self, container: str) -> Mapping[str, object]:
        """The engine's State of it."""
        inspected: Mapping[str, Mapping[str, object]] = await self._call(lambda api: api.inspect_container(container))
        return inspected["State"]

    async def statistics(self, container: str) -> Mapping[str, object]:
        """One sample of its control group."""
        sample: Mapping[str, object] = await self._call(
            lambda api: api.stats(container, stream=False, one_shot=True), seconds=5.0
        )
        return sample

    async def kill(self, container: str) -> None:
        """Kill it; one that has ended is no error."""

        def blocking(api: APIClient) -> None:
            try:
                api.kill(container)
            except APIError as error:
                if error.status_code not in (404, 409):
                    raise

        await self._call(blocking)

    async def remove(self, container: str) -> None:
        """Kill and remove it with its volumes; one that is gone is no error."""

        def blocking(api: APIClient) -> None:
            with suppress(NotFound):
                api.remove_container(container, v=True, force=True)

        await self._call(blocking)

    async def _image(self, reference: str) -> Mapping[str, object]:
        def blocking(api: APIClient) -> Mapping[str, object] | None:
            with suppress(NotFound):
                found: Mapping[str, object] = api.inspect_image(reference)  # type: ignore[no-untyped-call]  # same
                return found
            return None

        image = await self._call(blocking)
        if image is None:
            raise ImageNotAllowed("The image is not on this runner.")
        check_image(image)
        return image

    def _attach(self, container: str) -> Attachment:
        api = self._client(call_seconds)
        try:
            stream = api.attach_socket(container, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        except (DockerException, RequestException):
            api.close()
            raise

        # The stream, its response and its socket share one descriptor: closing any one of them leaves it open.
        connection: socket.socket = stream._sock

        def release() -> None:
            stream._response.close()
            connection.close()
            api.close()

        return Attachment(connection, release=release)

    def _client(self, seconds: float) -> APIClient:
        # The client forgets to close a socket that can not connect: knock first.
        with socket.socket(socket.AF_UNIX) as knock:
            knock.settimeout(seconds)
            knock.connect(self._host.removeprefix("unix://"))
        self._version = self._version or self._oldest_version()
        return APIClient(base_url=self._host, version=self._version, timeout=int(seconds) + 1)

    def _oldest_version(self) -> str:
        # One fixed version, so that a newer engine's new defaults do not enter; later engines drop the oldest.
        with closing(APIClient(base_url=self._host, version=API_VERSION_LEAST, timeout=int(call_seconds))) as api:
            least = str(api.version(api_version=False).get("MinAPIVersion") or API_VERSION_LEAST)
        return max(least, API_VERSION_LEAST, key=lambda version: tuple(map(int, version.split("."))))

    async def _call(self, work: Callable[[APIClient], T], *, seconds: float = call_seconds) -> T:
        def blocking() -> T:
            with closing(self._client(seconds)) as api:
                return work(api)

        return await self._in_thread(blocking)

    async def _in_thread(self, blocking: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, blocking)
        except (DockerException, RequestException, OSError) as error:
            text = str(error)
            if "could not select device driver" in text:
                raise SandboxUnavailable("This runner can not give a job the GPUs it asks for.", detail=text) from error
            raise SandboxUnavailable(detail=f"{type(error).__name__}: {text[:512]}") from error
