"""What ./dev asks of a Docker engine: does it answer, which id has an image, pull one, load one from a root tar.

`load` writes the image's configuration itself, so that one root tar has one image id on every machine; `docker import`
would put the time of day into it.
"""

import argparse
import hashlib
import io
import json
import platform
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import docker
import requests

CALL_SECONDS_MAX = 10
TRANSFER_SECONDS_MAX = 600
REGISTRY = ("registry-1.docker.io", 443)
REGISTRY_SECONDS_MAX = 5
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
FAILURES = (docker.errors.DockerException, requests.RequestException, OSError)


def client(host: str, seconds: int = CALL_SECONDS_MAX) -> docker.DockerClient:
    return docker.DockerClient(base_url=host, timeout=seconds)


def ping(chosen: argparse.Namespace) -> None:
    client(chosen.host).ping()


def sweep(chosen: argparse.Namespace) -> None:
    """Remove every container: of an engine that nobody uses yet, whose last user may have been killed."""
    for container in client(chosen.host).containers.list(all=True):
        container.remove(force=True, v=True)


def show_id(chosen: argparse.Namespace) -> None:
    print(client(chosen.host).images.get(chosen.name).id)


def pull(chosen: argparse.Namespace) -> None:
    """By digest, under our name. The registry is tried first: an engine has no bound on how long it looks for one."""
    socket.create_connection(REGISTRY, timeout=REGISTRY_SECONDS_MAX).close()
    image = client(chosen.host, TRANSFER_SECONDS_MAX).images.pull(*chosen.reference.split("@"))
    repository, tag = chosen.name.split(":")
    image.tag(repository, tag)
    print(image.id)


def load(chosen: argparse.Namespace) -> None:
    engine = client(chosen.host, TRANSFER_SECONDS_MAX)
    with tempfile.TemporaryFile() as archive:
        write_image(archive, name=chosen.name, layer=chosen.tar, epoch=chosen.epoch)
        archive.seek(0)
        engine.images.load(archive)
    show_id(chosen)


def write_image(archive: io.BufferedIOBase, *, name: str, layer: Path, epoch: int) -> None:
    """An archive as `docker save` writes it, of one layer."""
    with layer.open("rb") as file:
        layer_id = hashlib.file_digest(file, "sha256").hexdigest()
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_id}"]},
    }
    config_bytes = json.dumps(config, sort_keys=True).encode()
    config_name = f"{hashlib.sha256(config_bytes).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(layer, "layer.tar")
        add(tar, config_name, config_bytes)
        add(tar, "manifest.json", json.dumps(manifest).encode())


def pack_busybox(chosen: argparse.Namespace) -> None:
    """A root with the one binary, a link for each of its applets, and the folders that a runtime mounts on."""
    listed = subprocess.run([chosen.binary, "--list"], check=True, capture_output=True, text=True).stdout.split()
    with tarfile.open(chosen.tar, mode="w") as tar:
        for folder, mode in (
            ("bin", 0o755),
            ("dev", 0o755),
            ("etc", 0o755),
            ("proc", 0o755),
            ("sys", 0o755),
            ("tmp", 0o1777),
        ):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, mode, chosen.epoch
            tar.addfile(entry)
        add(tar, "bin/busybox", chosen.binary.read_bytes(), mode=0o755, epoch=chosen.epoch)
        for applet in sorted(set(listed) - {"busybox"}):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname, entry.mtime = tarfile.SYMTYPE, "busybox", chosen.epoch
            tar.addfile(entry)


def add(tar: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644, epoch: int = 0) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), mode, epoch
    tar.addfile(entry, io.BytesIO(content))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="what ./dev asks of a Docker engine")
    parser.add_argument("--host", default="")
    verbs = parser.add_subparsers(required=True)

    def verb(
        name: str, run: Callable[[argparse.Namespace], None], *positional: tuple[str, type]
    ) -> argparse.ArgumentParser:
        made = verbs.add_parser(name)
        made.set_defaults(run=run)
        for argument, kind in positional:
            made.add_argument(argument, type=kind)
        return made

    verb("ping", ping)
    verb("sweep", sweep)
    verb("id", show_id, ("name", str))
    verb("pull", pull, ("name", str), ("reference", str))
    verb("load", load, ("name", str), ("tar", Path)).add_argument("--epoch", type=int, required=True)
    verb("pack-busybox", pack_busybox, ("binary", Path), ("tar", Path)).add_argument("--epoch", type=int, required=True)
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    try:
        chosen.run(chosen)
    except FAILURES as error:
        sys.exit(f"dev: {error}")


if __name__ == "__main__":
    main()
