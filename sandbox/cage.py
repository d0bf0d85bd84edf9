"""Cage: a job's shape rendered into a hardened container, from the versioned profile template strict-1.

- Pure: it takes values and gives values; only the package's own seccomp list and launcher are read, at call time.
- No network, no resolver, no capability, no new privilege, read-only root, one unused uid, our own list of system
  calls, bounded tmpfs as the only place to write, swap-free memory, bounded processes, no log driver, no mounts.
- Nothing secret stands in a spec: a framed job's argv and environment travel sealed, through stdin.
- `template_digest` names the template; `ContainerSpec.digest` the rendered profile (image, mode, uid, shape, GPUs).
  Labels are for finding a container again: they confine nothing and are not in the digest.
- Engines accept options that they do not enforce: `sandbox/verdict.py` compares what was made with what was asked, and
  `sandbox/probe.py` tries it out.

    spec = render(image_id=..., mode=Mode.FRAMED, command=(), shape=shape, uid=70001, labels={...}, isolation=...)
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Final

from carnet.core import limits
from carnet.core.document import Json, canonical
from carnet.core.errors import FieldInvalid, ImageDigestRequired, SandboxUnavailable
from carnet.core.job import Mode
from carnet.core.runner import Isolation

PROFILE: Final = "strict-1"
RUNTIMES: Final = {Isolation.CONTAINER: "runc", Isolation.GVISOR: "runsc"}
MASKED: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

uid_min: Final = 10_000

_IMAGE_ID: Final = re.compile(r"sha256:[0-9a-f]{64}")
_GPU: Final = re.compile(r"(GPU|MIG)-[0-9a-f-]+")
_LABEL: Final = re.compile(r"carnet\.[a-z_.]{1,64}")
_SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LAUNCH: Final = ("python3", "-IS", "-c")
_TMP_BYTES_MAX: Final = 64 * limits.MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a cage gets. `shm_bytes` 0 means no shared memory at all; `gpus` are device UUIDs."""

    cpu_millis: int
    memory_bytes: int
    work_bytes: int
    pids: int = 128
    timeout_seconds: int
    gpus: tuple[str, ...] = ()
    shm_bytes: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "cpu_millis": (self.cpu_millis, 10, 1_000_000),
            "memory_bytes": (self.memory_bytes, 8 * limits.MIB, 64 * 1024 * limits.GIB),
            "work_bytes": (self.work_bytes, limits.MIB, 64 * 1024 * limits.GIB),
            "pids": (self.pids, 4, 4096),
            "timeout_seconds": (self.timeout_seconds, 1, limits.manifest_seconds_max),
            "shm_bytes": (self.shm_bytes, 0, self.memory_bytes),
        }
        for name, (value, low, high) in bounds.items():
            if not low <= value <= high:
                raise FieldInvalid(f"{name} must be from {low} to {high}.", metadata={"field": name})
        if len(set(self.gpus)) != len(self.gpus) or not all(_GPU.fullmatch(gpu) for gpu in self.gpus):
            raise FieldInvalid("GPUs are named by distinct UUIDs.", metadata={"field": "gpus"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The most that one attempt may give back: bytes of log, bytes of all results, number of results."""

    log_bytes_max: int
    result_bytes_max: int
    result_objects_max: int

    def __post_init__(self) -> None:
        pairs = (
            (self.log_bytes_max, limits.log_bytes_max),
            (self.result_bytes_max, limits.result_bytes_max),
            (self.result_objects_max, limits.result_objects_max),
        )
        if any(not 0 <= cap <= bound for cap, bound in pairs):
            raise FieldInvalid("A cap on output is out of bounds.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """One rendered cage. `request` is the engine's create request, `document` its canonical form without labels."""

    profile: str
    image_id: str
    mode: Mode
    isolation: Isolation
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    shape: Shape
    uid: int
    labels: tuple[tuple[str, str], ...]
    seccomp: str

    def __post_init__(self) -> None:
        if not _IMAGE_ID.fullmatch(self.image_id):
            raise ImageDigestRequired("A cage is made from an image id.")
        if self.isolation not in RUNTIMES:
            raise SandboxUnavailable("This isolation level is not available here.", detail=self.isolation)
        if not uid_min <= self.uid < 2**31:
            raise FieldInvalid(f"A cage's uid must be from {uid_min} on.", metadata={"field": "uid"})
        if self.mode is Mode.FRAMED and self.command:
            raise FieldInvalid("A framed job's command travels sealed.", metadata={"field": "command"})
        if any(not _LABEL.fullmatch(name) or len(value) > 256 for name, value in self.labels):
            raise FieldInvalid("A label is out of bounds.", metadata={"field": "labels"})

    def environment(self) -> tuple[str, ...]:
        """All that stands in the container's environment beside what the image itself sets."""
        threads = str(max(1, self.shape.cpu_millis // 1000))
        return (
            "HOME=/work",
            "LANG=C.UTF-8",
            f"NVIDIA_VISIBLE_DEVICES={','.join(self.shape.gpus) or 'void'}",
            f"OMP_NUM_THREADS={threads}",
            f"OPENBLAS_NUM_THREADS={threads}",
            f"PATH={_SEARCH_PATH}",
            "PYTHONDONTWRITEBYTECODE=1",
            "TMPDIR=/tmp",
        )

    def request(self) -> dict[str, Json]:
        """The body of the engine's create call (Docker Engine API 1.41, POST /containers/create)."""
        body: dict[str, Json] = {
            "Image": self.image_id,
            "Cmd": list(self.command),
            "Env": list(self.environment()),
            "User": f"{self.uid}:{self.uid}",
            "WorkingDir": "/work",
            "Hostname": "cage",
            "Domainname": "",
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "OpenStdin": True,
            "StdinOnce": True,
            "Tty": False,
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": {**dict(self.labels), "carnet.profile": self.profile},
            "HostConfig": self._host(),
        }
        if self.entrypoint:
            body["Entrypoint"] = list(self.entrypoint)
        return body

    def document(self) -> bytes:
        """Canonical JSON of the rendered profile: the create request less its labels, and the time limit."""
        body = self.request()
        del body["Labels"]
        return canonical(
            {
                "profile": self.profile,
                "mode": self.mode,
                "isolation": self.isolation,
                "timeout_seconds": self.shape.timeout_seconds,
                "request": body,
            }
        )

    def digest(self) -> bytes:
        """SHA-256 over `document`, 32 bytes."""
        return hashlib.sha256(self.document()).digest()

    def _host(self) -> dict[str, Json]:
        shape = self.shape
        return {
            "NetworkMode": "none",
            # Without these three the engine copies the host's resolv.conf even for network none.
            "Dns": ["127.0.0.1"],
            "DnsSearch": ["."],
            "DnsOptions": ["ndots:0"],
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true", "seccomp=" + self.seccomp],
            "MaskedPaths": list(MASKED),
            "ReadonlyPaths": list(READONLY),
            "PidsLimit": shape.pids,
            "Memory": shape.memory_bytes,
            "MemorySwap": shape.memory_bytes,
            "NanoCpus": shape.cpu_millis * 1_000_000,
            "Ulimits": [_ulimit(name, bound) for name, bound in self._ulimits().items()],
            "Tmpfs": {
                "/work": self._tmpfs(shape.work_bytes, inodes=65_536),
                "/tmp": self._tmpfs(min(shape.work_bytes, _TMP_BYTES_MAX), inodes=4096),  # noqa: S108  (in the cage)
            },
            "IpcMode": "private" if shape.shm_bytes else "none",
            **({"ShmSize": shape.shm_bytes} if shape.shm_bytes else {}),
            "CgroupnsMode": "private",
            "Init": True,
            "OomScoreAdj": 1000,
            "LogConfig": {"Type": "none", "Config": {}},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "Runtime": RUNTIMES[self.isolation],
            **({"DeviceRequests": [_devices(shape.gpus)]} if shape.gpus else {}),
        }

    def _ulimits(self) -> dict[str, int]:
        return {"core": 0, "fsize": self.shape.work_bytes, "memlock": 8 * limits.MIB, "msgqueue": 0, "nofile": 1024}

    def _tmpfs(self, size: int, *, inodes: int) -> str:
        owner = f"uid={self.uid},gid={self.uid}"
        return f"rw,noexec,nosuid,nodev,size={size},nr_inodes={inodes},{owner},mode=0700"


def render(
    *,
    image_id: str,
    mode: Mode,
    command: tuple[str, ...],
    shape: Shape,
    uid: int,
    labels: Mapping[str, str],
    isolation: Isolation,
) -> ContainerSpec:
    """A cage after strict-1. `command` is for mode raw only: empty means the image's own.

    Raises FieldInvalid, ImageDigestRequired, or SandboxUnavailable for a level that has no runtime here.
    """
    return ContainerSpec(
        profile=PROFILE,
        image_id=image_id,
        mode=mode,
        isolation=isolation,
        entrypoint=(*_LAUNCH, _data("launcher.py")) if mode is Mode.FRAMED else (),
        command=command,
        shape=shape,
        uid=uid,
        labels=tuple(sorted(labels.items())),
        seccomp=_data("seccomp", f"{PROFILE}.json"),
    )


def template_digest() -> bytes:
    """SHA-256 of the profile template, 32 bytes: strict-1 rendered for fixed reference values in each of its variants.

    It covers every option, the text of the seccomp list and the text of the launcher.
    """
    shape = Shape(cpu_millis=2000, memory_bytes=limits.GIB, work_bytes=limits.GIB // 4, timeout_seconds=3600)
    framed = render(
        image_id="sha256:" + "0" * 64,
        mode=Mode.FRAMED,
        command=(),
        shape=shape,
        uid=70_000,
        labels={},
        isolation=Isolation.CONTAINER,
    )
    variants = (
        framed,
        replace(framed, mode=Mode.RAW, entrypoint=()),
        replace(framed, isolation=Isolation.GVISOR),
        replace(framed, shape=replace(shape, gpus=("GPU-0",), shm_bytes=limits.MIB)),
    )
    return hashlib.sha256(canonical([v.document().decode() for v in variants])).digest()


def _ulimit(name: str, bound: int) -> Json:
    return {"Name": name, "Soft": bound, "Hard": bound}


def _devices(gpus: tuple[str, ...]) -> Json:
    return {"Driver": "", "Count": 0, "DeviceIDs": list(gpus), "Capabilities": [["gpu"]], "Options": {}}


def _data(*path: str) -> str:
    return files("sandbox").joinpath(*path).read_text(encoding="utf-8")
