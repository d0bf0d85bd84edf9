"""The profile: what strict-1 asks for, what its digests cover, and that a difference is never overlooked."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import pytest

from carnet.core.document import Json
from carnet.core.errors import CarnetError, FieldInvalid, ImageDigestRequired, ImageNotAllowed, SandboxUnavailable
from carnet.core.job import Mode
from carnet.core.runner import Isolation
from sandbox import cage
from sandbox.cage import Caps, ContainerSpec, Shape, render, template_digest
from sandbox.verdict import check_image, verify

MIB = 1024 * 1024
IMAGE = "sha256:" + "a" * 64
SHAPE = Shape(cpu_millis=2500, memory_bytes=256 * MIB, work_bytes=32 * MIB, timeout_seconds=60)
GPU = "GPU-7b1ba4c5-0000-0000-0000-000000000000"

DANGEROUS = """
    io_uring_setup io_uring_enter io_uring_register keyctl add_key request_key bpf perf_event_open userfaultfd
    ptrace process_vm_readv process_vm_writev unshare setns mount umount2 pivot_root fsopen fsmount move_mount
    open_tree mount_setattr kexec_load kexec_file_load init_module finit_module delete_module swapon swapoff reboot
    open_by_handle_at name_to_handle_at fanotify_init syslog quotactl acct settimeofday clock_settime iopl ioperm
    setuid setgid setgroups capset chroot modify_ldt kcmp pidfd_getfd memfd_secret socketcall vmsplice
"""

Object = dict[str, Json]


def spec(**changes: object) -> ContainerSpec:
    fields: dict[str, object] = {
        "image_id": IMAGE,
        "mode": Mode.FRAMED,
        "command": (),
        "shape": SHAPE,
        "uid": 70_000,
        "labels": {"carnet.job": "1"},
        "isolation": Isolation.CONTAINER,
    }
    return render(**{**fields, **changes})  # type: ignore[arg-type]


def host(of: ContainerSpec) -> Object:
    return cast(Object, of.request()["HostConfig"])


def inspected(of: ContainerSpec) -> Object:
    """What an engine of version 20.10 says of a container made from the spec."""
    body = copy.deepcopy(of.request())
    options = cast(Object, body.pop("HostConfig"))
    labels = cast(Object, body["Labels"])
    engine: Object = {
        "Binds": None,
        "ContainerIDFile": "",
        "AutoRemove": False,
        "CapAdd": None,
        "Devices": None,
        "ExtraHosts": None,
        "GroupAdd": None,
        "Links": None,
        "PidMode": "",
        "Privileged": False,
        "PublishAllPorts": False,
        "PortBindings": {},
        "UTSMode": "",
        "UsernsMode": "",
        "VolumesFrom": None,
        "ShmSize": 67_108_864,
        "ConsoleSize": [0, 0],
        "CpuQuota": 0,
        "DeviceRequests": None,
        "OomKillDisable": False,
    }
    arguments = [*of.entrypoint, *of.command]
    return {
        "Image": of.image_id,
        "Path": arguments[0] if arguments else "",
        "Args": cast(Json, arguments[1:]),
        "Mounts": [],
        "Config": {**body, "Labels": {**labels, "made": "by"}, "Volumes": None, "OnBuild": None},
        "HostConfig": {**engine, **options},
        "NetworkSettings": {"Networks": {}},
    }


PLAIN_IMAGE: Mapping[str, object] = {"Config": {"Env": ["PATH=/bin", "PYTHON_VERSION=3.11"], "Labels": {"made": "by"}}}


def test_the_profile_asks_for_every_guard() -> None:
    options = host(spec())
    assert options["NetworkMode"] == "none"
    assert options["Dns"] == ["127.0.0.1"]
    assert options["ReadonlyRootfs"] is True
    assert options["CapDrop"] == ["ALL"]
    assert options["Memory"] == options["MemorySwap"] == 256 * MIB
    assert options["NanoCpus"] == 2_500_000_000
    assert options["PidsLimit"] == 128
    assert options["IpcMode"] == "none"
    assert options["CgroupnsMode"] == "private"
    assert options["LogConfig"] == {"Type": "none", "Config": {}}
    assert options["Init"] is True
    assert options["Tmpfs"] == {
        "/work": "rw,noexec,nosuid,nodev,size=33554432,nr_inodes=65536,uid=70000,gid=70000,mode=0700",
        "/tmp": "rw,noexec,nosuid,nodev,size=33554432,nr_inodes=4096,uid=70000,gid=70000,mode=0700",
    }
    assert {"Name": "core", "Soft": 0, "Hard": 0} in cast(list[Json], options["Ulimits"])
    assert not {"Binds", "Mounts", "Devices", "VolumesFrom", "Privileged", "CapAdd", "DeviceRequests"} & set(options)
    assert spec().request()["User"] == "70000:70000"
    assert spec().request()["Healthcheck"] == {"Test": ["NONE"]}


def test_shared_memory_and_gpus_are_given_only_when_asked_for() -> None:
    options = host(spec(shape=replace(SHAPE, shm_bytes=MIB, gpus=(GPU,))))
    assert (options["IpcMode"], options["ShmSize"]) == ("private", MIB)
    wanted = {"Driver": "", "Count": 0, "DeviceIDs": [GPU], "Capabilities": [["gpu"]], "Options": {}}
    assert options["DeviceRequests"] == [wanted]
    assert "NVIDIA_VISIBLE_DEVICES=void" in spec().environment()
    assert f"NVIDIA_VISIBLE_DEVICES={GPU}" in spec(shape=replace(SHAPE, gpus=(GPU,))).environment()


def test_our_list_of_system_calls_is_an_allow_list_without_the_dangerous_ones() -> None:
    profile = json.loads(spec().seccomp)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = {n for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for n in rule["names"]}
    plain = {n for rule in profile["syscalls"] if "args" not in rule for n in rule["names"]}
    dangerous = set(DANGEROUS.split())
    assert not allowed & dangerous
    assert not plain & {"clone", "socket", "socketpair", "personality"}
    families = {r["args"][0]["value"] for r in profile["syscalls"] if r["names"] == ["socket"]}
    assert families == {1, 2, 10}


def test_the_digests_are_stable_and_cover_the_profile() -> None:
    assert spec().digest() == spec().digest() != template_digest() == template_digest()
    changed = [
        spec(uid=70_001),
        spec(mode=Mode.RAW),
        spec(mode=Mode.RAW, command=("x",)),
        spec(image_id="sha256:" + "b" * 64),
        spec(shape=replace(SHAPE, pids=64)),
        spec(shape=replace(SHAPE, timeout_seconds=61)),
        spec(shape=replace(SHAPE, gpus=(GPU,))),
        spec(isolation=Isolation.GVISOR),
    ]
    assert len({s.digest() for s in (spec(), *changed)}) == 1 + len(changed)
    assert spec(labels={"carnet.job": "2"}).digest() == spec().digest()


@pytest.mark.parametrize("part", ["launcher.py", "strict-1.json"])
def test_another_launcher_or_list_of_calls_is_another_template(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    before, read = template_digest(), cage._data
    monkeypatch.setattr(cage, "_data", lambda *path: read(*path) + (" " if path[-1] == part else ""))
    assert template_digest() != before


def test_another_option_is_another_template(monkeypatch: pytest.MonkeyPatch) -> None:
    before = template_digest()
    monkeypatch.setattr(cage, "MASKED", cage.MASKED[1:])
    assert template_digest() != before


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: spec(image_id="busybox:latest"), ImageDigestRequired),
        (lambda: spec(command=("x",)), FieldInvalid),
        (lambda: spec(uid=0), FieldInvalid),
        (lambda: spec(uid=1000), FieldInvalid),
        (lambda: spec(labels={"other": "1"}), FieldInvalid),
        (lambda: spec(isolation=Isolation.PROCESS), SandboxUnavailable),
        (lambda: spec(isolation=Isolation.TEE), SandboxUnavailable),
        (lambda: replace(SHAPE, gpus=("all",)), FieldInvalid),
        (lambda: replace(SHAPE, gpus=(GPU, GPU)), FieldInvalid),
        (lambda: replace(SHAPE, pids=0), FieldInvalid),
        (lambda: replace(SHAPE, memory_bytes=-1), FieldInvalid),
        (lambda: replace(SHAPE, timeout_seconds=0), FieldInvalid),
        (lambda: Caps(log_bytes_max=2**60, result_bytes_max=0, result_objects_max=0), FieldInvalid),
    ],
)
def test_a_cage_that_would_not_hold_can_not_be_made(make: Callable[[], object], error: type[CarnetError]) -> None:
    with pytest.raises(error):
        make()


@pytest.mark.parametrize("mode", list(Mode))
def test_what_the_engine_made_as_asked_is_verified(mode: Mode) -> None:
    made = spec(mode=mode, command=("x",) if mode is Mode.RAW else ())
    found = inspected(made)
    verify(made, found, PLAIN_IMAGE)
    config = cast(Object, found["Config"])
    config["Env"] = [*cast(list[Json], config["Env"]), "PYTHON_VERSION=3.11"]
    verify(made, found, PLAIN_IMAGE)


def test_a_raw_job_without_a_command_runs_the_images_own() -> None:
    made = spec(mode=Mode.RAW)
    found = inspected(made)
    image = {"Config": {"Entrypoint": ["/run"], "Cmd": ["fast"], "Labels": {"made": "by"}}}
    with pytest.raises(SandboxUnavailable):
        verify(made, found, image)
    cast(Object, found["Config"]).update({"Entrypoint": ["/run"], "Cmd": ["fast"]})
    verify(made, found, image)


@pytest.mark.parametrize("name", sorted(host(spec())))
def test_an_option_that_does_not_stand_is_named(name: str) -> None:
    found = inspected(spec())
    del cast(Object, found["HostConfig"])[name]
    with pytest.raises(SandboxUnavailable) as raised:
        verify(spec(), found, PLAIN_IMAGE)
    assert raised.value.metadata["differences"] == name


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("HostConfig", "Privileged", True),
        ("HostConfig", "Binds", ["/:/host"]),
        ("HostConfig", "CapAdd", ["SYS_ADMIN"]),
        ("HostConfig", "Devices", [{"PathOnHost": "/dev/kvm"}]),
        ("HostConfig", "PidMode", "host"),
        ("HostConfig", "UsernsMode", "host"),
        ("HostConfig", "GroupAdd", ["0"]),
        ("HostConfig", "DeviceRequests", [{"Count": -1}]),
        ("HostConfig", "OomKillDisable", True),
        ("HostConfig", "ShmSize", 2**30),
        ("HostConfig", "SomethingNew", "on"),
        ("HostConfig", "SecurityOpt", ["no-new-privileges:true", "seccomp=unconfined"]),
        ("Config", "User", ""),
        ("Config", "Entrypoint", ["sh"]),
        ("Config", "Tty", True),
        ("Config", "Volumes", {"/data": {}}),
        ("Config", "Healthcheck", {"Test": ["CMD", "x"]}),
        ("Config", "Env", ["HTTP_PROXY=http://192.0.2.1"]),
        ("NetworkSettings", "Networks", {"bridge": {}}),
    ],
)
def test_an_option_that_was_not_asked_for_is_named(part: str, name: str, value: Json) -> None:
    found = inspected(spec())
    cast(Object, found[part])[name] = value
    with pytest.raises(SandboxUnavailable) as raised:
        verify(spec(), found, PLAIN_IMAGE)
    assert raised.value.metadata["differences"] == name


@pytest.mark.parametrize(("name", "value"), [("Image", "sha256:" + "b" * 64), ("Mounts", [{}]), ("Path", "sh")])
def test_another_image_mount_or_program_is_named(name: str, value: Json) -> None:
    with pytest.raises(SandboxUnavailable) as raised:
        verify(spec(), {**inspected(spec()), name: value}, PLAIN_IMAGE)
    assert raised.value.metadata["differences"] == name


@pytest.mark.parametrize("extra", ["https_proxy=http://192.0.2.1", "SECRET=1", "PATH=/evil"])
def test_a_variable_that_neither_spec_nor_image_sets_is_a_difference(extra: str) -> None:
    found = inspected(spec())
    config = cast(Object, found["Config"])
    config["Env"] = [*cast(list[Json], config["Env"]), extra]
    with pytest.raises(SandboxUnavailable) as raised:
        verify(spec(), found, PLAIN_IMAGE)
    assert raised.value.metadata["differences"] == "Env"


@pytest.mark.parametrize("config", [{"Volumes": {"/data": {}}}, {"Env": ["no_proxy=*"]}])
def test_an_image_with_a_volume_or_a_proxy_is_not_allowed(config: dict[str, object]) -> None:
    check_image(PLAIN_IMAGE)
    with pytest.raises(ImageNotAllowed):
        check_image({"Config": config})
