"""The program that a probe runs inside a cage: it tries what must not work, and writes what it saw as JSON.

- Standard library only, Python 3.9 or newer; it runs as an ordinary framed job.
- It judges nothing: `sandbox/probe.py` does, outside. Argument 1 is the memory limit in bytes.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import socket
import sys
import time

# The numbers of system calls that the C library does not wrap: x86_64, aarch64.
NUMBERS = {
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "ptrace": (101, 117),
    "unshare": (272, 97),
    "mount": (165, 40),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "kexec_load": (246, 104),
    "finit_module": (313, 273),
    "open_by_handle_at": (304, 265),
    "clock_settime": (227, 112),
}
FAMILIES = {"AF_NETLINK": 16, "AF_PACKET": 17, "AF_ALG": 38, "AF_VSOCK": 40}
# PTRACE_ATTACH to a process that is not there: asking to be traced would stop this program where it is allowed.
ARGUMENTS = {"unshare": (0x10000000,), "io_uring_setup": (1, 0), "ptrace": (16, 2**22, 0, 0)}
WORKS = "works"
FORBIDDEN_PATHS = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sysrq-trigger",
    "/sys/kernel/profiling",
    "/sys/fs/cgroup/cgroup.procs",
    "/etc/carnet-probe",
    "/carnet-probe",
    "/dev/carnet-probe",
)
MOUNTS = ("/", "/work", "/tmp")  # noqa: S108  (of the cage)
SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")


def error_of(action) -> str:  # type: ignore[no-untyped-def]  # it must run on Python 3.9, with no typing imports
    """The name of the error that the action gives, or `works`."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return WORKS


def call(name: str) -> str:
    """The name of the error of one raw system call, or `works`."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = NUMBERS[name][platform.machine() == "aarch64"]
    arguments = ARGUMENTS.get(name, (0, 0, 0, 0, 0))
    if libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in arguments)) >= 0:
        return WORKS
    return errno.errorcode.get(ctypes.get_errno(), str(ctypes.get_errno()))


def read(path: str) -> str:
    """A small file's text, `-` if it is empty or can not be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(65536) or "-"
    except OSError:
        return "-"


def hard_limit(which: int) -> int:
    """A hard limit; 2**62 for none."""
    limit = resource.getrlimit(which)[1]
    return 2**62 if limit == resource.RLIM_INFINITY else limit


def write_to(path: str) -> None:
    """Open for writing, in the way that a job would."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def connect(family: int, address: tuple[str, int]) -> None:
    """Try to reach an address by TCP."""
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        connection.connect(address)


def forks() -> int:
    """How many children can stand at once, up to 96."""
    children: list[int] = []
    try:
        while len(children) < 96:
            child = os.fork()
            if not child:
                time.sleep(30)
                os._exit(0)
            children.append(child)
    except OSError:
        pass
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(children)


def memory(limit: int) -> int:
    """The signal that ends a child which touches twice the limit; 0 if it lives."""
    child = os.fork()
    if not child:
        b"x" * (2 * limit)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def fill(folder: str, limit: int) -> int:
    """How many bytes a folder takes before it is full, up to `limit`."""
    path, size, block = os.path.join(folder, "fill"), 0, b"x" * 65536
    with open(path, "wb", buffering=0) as file:
        try:
            while size < limit:
                size += file.write(block)
        except OSError:
            pass
    os.unlink(path)
    return size


def observe(limit: int) -> dict[str, object]:
    """Everything, by name."""
    status = dict(line.split(":\t", 1) for line in read("/proc/self/status").splitlines() if ":\t" in line)
    mounts = [line.split() for line in read("/proc/self/mounts").splitlines()]
    kept = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    return {
        "status": {name: status.get(name) or "-" for name in kept},
        "mounts": {p: o for _, p, _, o, *_ in mounts if p in MOUNTS},
        "interfaces": [line.split(":")[0].strip() for line in read("/proc/net/dev").splitlines() if ":" in line],
        "resolver": read("/etc/resolv.conf"),
        "environment": sorted(os.environ),
        "core": hard_limit(resource.RLIMIT_CORE),
        "nofile": hard_limit(resource.RLIMIT_NOFILE),
        "calls": {name: call(name) for name in NUMBERS},
        "families": {n: error_of(lambda f=f: socket.socket(f, socket.SOCK_RAW).close()) for n, f in FAMILIES.items()},
        "writes": {path: error_of(lambda p=path: write_to(p)) for path in FORBIDDEN_PATHS},
        "tcp": error_of(lambda: connect(socket.AF_INET, ("192.0.2.1", 80))),
        "sockets": [path for path in SOCKETS if os.path.exists(path)],
        "work": fill("/work", 4 * limit),
        "forks": forks(),
        "memory": memory(limit),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(observe(int(sys.argv[1]))))
