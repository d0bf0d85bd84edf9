"""Attacks on the walls of a cage. Each has a control: the same attack with that guard off works."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import APIClient

from carnet.core.job import Mode
from sandbox import observer
from sandbox.docker import DockerEngine
from tests.fixtures.cage import LooseEngine, Run

pytestmark = pytest.mark.docker

OBSERVER = Path(observer.__file__).read_text(encoding="utf-8").replace('__name__ == "__main__"', "False")


async def seen(engine: DockerEngine, image: str, expression: str) -> object:
    """What an expression over the observer's functions gives inside a cage."""
    script = f"{OBSERVER}\nprint(json.dumps({expression}))"
    outcome, record = await Run(image=image, mode=Mode.RAW, script=script).on(engine)
    assert outcome.code == 0, record.log
    return json.loads(record.results["stdout"])


def loose(**options: object) -> LooseEngine:
    return LooseEngine(lambda _, host: host.update(options))  # type: ignore[arg-type]


CALLS = "{name: call(name) for name in NUMBERS}"
FAMILIES = "{n: error_of(lambda f=f: socket.socket(f, socket.SOCK_RAW).close()) for n, f in FAMILIES.items()}"


async def test_dangerous_system_calls_are_refused(engine: DockerEngine, base_image: str) -> None:
    found = await seen(engine, base_image, CALLS)
    assert isinstance(found, dict)
    assert set(found.values()) == {"EPERM"}
    assert set(found) >= {
        "io_uring_setup",
        "keyctl",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "ptrace",
        "unshare",
        "mount",
    }
    control = loose(SecurityOpt=["seccomp=unconfined"])
    found = await seen(control, base_image, CALLS)
    control.close()
    assert isinstance(found, dict)
    assert found["ptrace"] == "ESRCH"
    assert found["io_uring_setup"] != "EPERM"
    assert found["keyctl"] != "EPERM"


async def test_a_new_namespace_is_refused_by_clone_and_clone3_too(engine: DockerEngine, base_image: str) -> None:
    clone = (
        "(lambda n: (ctypes.CDLL(None, use_errno=True).syscall(n, 0x10000000 | 17, 0, 0, 0, 0), ctypes.get_errno()))"
    )
    number = "56 if platform.machine() == 'x86_64' else 220"
    child = f"(lambda r: os._exit(0) if r[0] == 0 else r)({clone}({number}))[0] < 0"
    assert await seen(engine, base_image, child) is True
    clone3 = "(lambda l: (l.syscall(435, 0, 0), ctypes.get_errno())[1])(ctypes.CDLL(None, use_errno=True))"
    assert await seen(engine, base_image, clone3) == 38
    control = loose(SecurityOpt=["seccomp=unconfined"])
    assert await seen(control, base_image, clone3) == 22
    control.close()


async def test_sockets_that_no_network_namespace_confines_are_refused(engine: DockerEngine, base_image: str) -> None:
    assert await seen(engine, base_image, FAMILIES) == {
        "AF_NETLINK": "EPERM",
        "AF_PACKET": "EPERM",
        "AF_ALG": "EPERM",
        "AF_VSOCK": "EPERM",
    }
    netlink = "error_of(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close())"
    control = loose(SecurityOpt=["seccomp=unconfined"])
    assert await seen(control, base_image, netlink) == "works"
    control.close()


@pytest.fixture
def listener() -> Iterator[int]:
    """A TCP port on the host's loopback that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def serve() -> None:
            try:
                server.accept()[0].close()
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        server.close()


async def test_nothing_of_the_network_can_be_reached(engine: DockerEngine, base_image: str, listener: int) -> None:
    expression = f"""[
        error_of(lambda: connect(socket.AF_INET, ("127.0.0.1", {listener}))),
        error_of(lambda: connect(socket.AF_INET, ("169.254.169.254", 80))),
        error_of(lambda: connect(socket.AF_INET6, ("2001:db8::1", 80))),
        error_of(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53))),
        error_of(lambda: socket.getaddrinfo("example.org", 443)),
        [line.split(":")[0].strip() for line in read("/proc/net/dev").splitlines() if ":" in line],
    ]"""
    found = await seen(engine, base_image, expression)
    assert isinstance(found, list)
    assert found[:2] == ["ECONNREFUSED", "ENETUNREACH"]
    assert found[2] in ("ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT")
    assert found[3:] == ["ENETUNREACH", "gaierror", ["lo"]]
    control = loose(NetworkMode="host")
    found = await seen(control, base_image, expression.splitlines()[1].strip().rstrip(","))
    control.close()
    assert found == "works"


async def test_the_hosts_resolver_is_not_visible(engine: DockerEngine, base_image: str) -> None:
    found = await seen(engine, base_image, "read('/etc/resolv.conf').split()")
    assert found == ["nameserver", "127.0.0.1", "options", "ndots:0"]
    control = LooseEngine(lambda _, host: [host.pop(name) for name in ("Dns", "DnsSearch", "DnsOptions")])
    assert await seen(control, base_image, "read('/etc/resolv.conf').split()") != found
    control.close()


async def test_the_kernels_settings_and_the_root_can_not_be_written(engine: DockerEngine, base_image: str) -> None:
    expression = "{path: error_of(lambda p=path: write_to(p)) for path in FORBIDDEN_PATHS}"
    found = await seen(engine, base_image, expression)
    assert isinstance(found, dict)
    assert "works" not in found.values()
    control = LooseEngine(
        lambda body, host: (
            body.update({"User": "0:0"}),
            host.update({"ReadonlyPaths": [], "ReadonlyRootfs": False, "CapDrop": []}),
        )
    )
    found = await seen(control, base_image, expression)
    control.close()
    assert isinstance(found, dict)
    assert found["/proc/sys/kernel/core_pattern"] == "works"
    assert found["/carnet-probe"] == "works"


async def test_facts_of_the_host_are_masked(engine: DockerEngine, base_image: str) -> None:
    expression = "[read(p) for p in ('/proc/cmdline', '/proc/kallsyms', '/proc/modules', '/proc/keys')]"
    assert await seen(engine, base_image, expression) == ["-", "-", "-", "-"]
    control = loose(MaskedPaths=[])
    found = await seen(control, base_image, expression)
    control.close()
    assert isinstance(found, list)
    assert "-" not in found[:1]


async def test_no_engines_socket_is_in_the_cage(engine: DockerEngine, base_image: str) -> None:
    assert await seen(engine, base_image, "[path for path in SOCKETS if os.path.exists(path)]") == []
    path = os.environ["DOCKER_HOST"].removeprefix("unix://")
    control = loose(Binds=[f"{path}:/run/docker.sock"])
    assert await seen(control, base_image, "os.path.exists('/run/docker.sock')") is True
    control.close()


async def test_proxies_of_the_client_do_not_enter_the_environment(
    engine: DockerEngine, base_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = "http://user:password@192.0.2.1:3128"
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": {"httpProxy": proxy}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert await seen(engine, base_image, "sorted(os.environ)") == [
        "HOME",
        "HOSTNAME",
        "LANG",
        "NVIDIA_VISIBLE_DEVICES",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "TMPDIR",
    ]
    client = APIClient(base_url=os.environ["DOCKER_HOST"], version="auto")
    control = client.create_container(base_image, ["x"])["Id"]
    environment = client.inspect_container(control)["Config"]["Env"]
    client.remove_container(control)
    client.close()
    assert f"HTTP_PROXY={proxy}" in environment


async def test_a_program_can_not_be_executed_from_the_work_folder(engine: DockerEngine, base_image: str) -> None:
    made = 'open("/work/x", "w").write("#!/bin/sh\\n"), os.chmod("/work/x", 0o700)'
    expression = f'({made}, error_of(lambda: os.execv("/work/x", ["x"])))[2]'
    assert await seen(engine, base_image, expression) == "EACCES"
    control = LooseEngine(lambda _, host: host["Tmpfs"].update({"/work": "rw,exec,uid=70000,gid=70000"}))  # type: ignore
    outcome, record = await Run(image=base_image, mode=Mode.RAW, script=f"{OBSERVER}\nprint({expression})").on(control)
    control.close()
    assert (outcome.code, record.results["stdout"], record.log["stderr"]) == (0, b"", b"")
