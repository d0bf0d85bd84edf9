"""Probe: a real cage in which a real program tries what must not work. A level whose probe fails is not registered.

- It goes the way of every framed job: render, create, verify, attach, launcher, frames, wait, remove.
- Each expectation is one line of a table, so that a failure names what does not hold; all failures are named at once.
- Expected facts differ by level: gVisor has a kernel of its own and may ignore the list of system calls; its limits
  must hold all the same.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, Protocol

from carnet.core import limits
from carnet.core.document import Document, parse
from carnet.core.errors import FieldInvalid, SandboxUnavailable
from carnet.core.job import Mode
from carnet.core.runner import Isolation
from sandbox import frames
from sandbox.cage import PROFILE, RUNTIMES, Caps, ContainerSpec, Shape, render, template_digest
from sandbox.outcome import Outcome, Sink, Stop, Stream

SHAPE: Final = Shape(
    cpu_millis=1000, memory_bytes=96 * limits.MIB, work_bytes=4 * limits.MIB, pids=48, timeout_seconds=60
)
CAPS: Final = Caps(log_bytes_max=256 * limits.KIB, result_bytes_max=0, result_objects_max=0)
_SIGKILL: Final = 9
_WORKS: Final = "works"


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationFacts:
    """What was shown to hold on this host, for the runner's card."""

    isolation: Isolation
    template_digest: bytes
    shown: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        """Short `name=value` texts, sorted."""
        own = (f"profile={PROFILE}", f"template={self.template_digest.hex()}", f"runtime={RUNTIMES[self.isolation]}")
        return tuple(sorted((*own, *self.shown)))


class Runs(Protocol):
    """Runs a cage: `DockerEngine.run`."""

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
        """Run one cage to its end."""


class Probe:
    """One probe of one level. `run` raises SandboxUnavailable, naming all that does not hold."""

    def __init__(self, engine: Runs, *, image_id: str, uid: int, isolation: Isolation) -> None:
        self._engine = engine
        self._isolation = isolation
        self._spec = render(
            image_id=image_id,
            mode=Mode.FRAMED,
            command=(),
            shape=SHAPE,
            uid=uid,
            labels={"carnet.probe": isolation},
            isolation=isolation,
        )

    async def run(self, engine_facts: tuple[str, ...]) -> IsolationFacts:
        """Run it and judge what it saw."""
        pages = _Pages()
        outcome = await self._engine.run(
            self._spec, stdin=_job(), sink=pages, caps=CAPS, timeout_seconds=SHAPE.timeout_seconds, stop=Stop()
        )
        failures = judge(pages.text, uid=self._spec.uid, isolation=self._isolation)
        if not outcome.oom_killed:
            failures = (*failures, "the engine did not report an out-of-memory kill")
        if outcome.code != 0:
            failures = (*failures, f"the probe ended with {outcome.code} ({outcome.exit})")
        if failures:
            raise SandboxUnavailable(
                "The sandbox does not hold what its profile says.", detail="; ".join(failures)[:2048]
            )
        held = ("limits=memory,pids,work", "network=none", "root=read-only", "seccomp=strict-1", *engine_facts)
        if self._isolation is Isolation.GVISOR:
            held = tuple(line for line in held if line != "seccomp=strict-1")
        return IsolationFacts(isolation=self._isolation, template_digest=template_digest(), shown=held)


def judge(observed: bytes, *, uid: int, isolation: Isolation) -> tuple[str, ...]:
    """Everything in the observer's words that is not as strict-1 wants it. Nothing readable is a failure too."""
    try:
        seen = parse(observed, bytes_max=CAPS.log_bytes_max)
        failures = [*_privileges(seen.document("status"), uid, isolation), *_surroundings(seen), *_limits(seen)]
        mounts = _mounts(seen.document("mounts"))
        refused = _refusals(seen.document("calls")) | _refusals(seen.document("families"))
    except FieldInvalid as error:
        return (f"the probe's words are not readable: {error.text}",)
    if isolation is Isolation.CONTAINER:
        failures += mounts
        failures += [f"{name} works" for name, error in refused.items() if error not in ("EPERM", "ENOSYS")]
    return tuple(failures)


def _privileges(status: Document, uid: int, isolation: Isolation) -> list[str]:
    expected = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0000000000000000")
    expected |= {"Uid": "\t".join([str(uid)] * 4), "Gid": "\t".join([str(uid)] * 4), "NoNewPrivs": "1", "Seccomp": "2"}
    if isolation is Isolation.GVISOR:
        del expected["Seccomp"]
    return [f"{name} is another" for name, value in expected.items() if _word(status, name).strip() != value]


def _surroundings(seen: Document) -> list[str]:
    failures = [
        f"{path} can be written" for path, error in _refusals(seen.document("writes")).items() if error == _WORKS
    ]
    if seen.texts("interfaces") not in (("lo",), ()):
        failures.append("there is a network interface")
    if _word(seen, "tcp") == _WORKS:
        failures.append("a host can be reached")
    if seen.texts("sockets"):
        failures.append("an engine's socket is there")
    servers = [line.split()[1:] for line in _word(seen, "resolver").splitlines() if line.startswith("nameserver")]
    if servers not in ([["127.0.0.1"]], []):
        failures.append("the host's resolver is visible")
    if any("PROXY" in name.upper() for name in seen.texts("environment")):
        failures.append("a proxy is in the environment")
    return failures


def _limits(seen: Document) -> list[str]:
    failures = []
    if seen.integer("core") != 0 or seen.integer("nofile") > 1024:
        failures.append("the limits of core and files are others")
    if not 1 <= seen.integer("forks") < SHAPE.pids:
        failures.append("the limit of processes does not hold")
    if not limits.MIB // 2 <= seen.integer("work") <= SHAPE.work_bytes:
        failures.append("the limit of /work does not hold")
    if seen.integer("memory") != _SIGKILL:
        failures.append("the limit of memory does not hold")
    return failures


def _mounts(mounts: Document) -> list[str]:
    expected = {"/": {"ro"}, "/work": {"noexec", "nosuid", "nodev"}, "/tmp": {"noexec", "nosuid", "nodev"}}  # noqa: S108
    return [f"{p} is mounted otherwise" for p, o in expected.items() if not o <= set(_word(mounts, p).split(","))]


def _refusals(document: Document) -> dict[str, str]:
    return {name: _word(document, name) for name in document.names()}


def _word(document: Document, name: str) -> str:
    return document.text(name, bytes_max=64 * limits.KIB)


async def _job() -> AsyncIterator[bytes]:
    source = files("sandbox").joinpath("observer.py").read_bytes()
    program = frames.File(id=1, name="observer.py", size=len(source))
    argv = ("python3", "-IS", "observer.py", str(SHAPE.memory_bytes))
    yield frames.index(argv=argv, environment={}, files=(program,))
    for frame in frames.chunk(1, source):
        yield frame
    yield frames.END


class _Pages:
    """A sink that keeps what the probe wrote to stdout; its size is bounded by the caps."""

    def __init__(self) -> None:
        self.text = b""

    async def output(self, stream: Stream, data: bytes) -> None:
        self.text += data if stream == "stdout" else b""

    async def result_begin(self, name: str, size: int | None) -> None:
        """A probe has no results; the cap refuses them."""

    async def result_chunk(self, data: bytes) -> None:
        """A probe has no results; the cap refuses them."""

    async def result_end(self) -> None:
        """A probe has no results; the cap refuses them."""
