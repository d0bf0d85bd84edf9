"""Verdict: what the engine made, compared with what the profile asked for.

- Every option of the create request must stand in the engine's own account of the container, unchanged.
- Every option that the profile does not set must be off: an unknown one that is on is a difference, so that a newer
  engine's defaults are looked at before they are trusted.
- The environment is the spec's and the image's own, and never a proxy's.
- All differences are named at once, by option, never by value.

    verify(spec, inspected, image)     # raises SandboxUnavailable
"""

from collections.abc import Iterator, Mapping
from typing import Final

from carnet.core.errors import ImageNotAllowed, SandboxUnavailable
from carnet.core.job import Mode
from sandbox.cage import ContainerSpec

# Not options but the engine's notes, or defaults that confine nothing away.
_NEUTRAL: Final = {"ConsoleSize": [0, 0], "ShmSize": 67_108_864}
_PROXIES: Final = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"})


def check_image(image: Mapping[str, object]) -> None:
    """Raise ImageNotAllowed for an image with volumes (they are writable host disk) or proxies in its environment."""
    config = _part(image, "Config")
    if config.get("Volumes"):
        raise ImageNotAllowed("Images with volumes are refused.")
    if _proxies(_texts(config.get("Env"))):
        raise ImageNotAllowed("Images that set a proxy are refused.")


def verify(spec: ContainerSpec, inspected: Mapping[str, object], image: Mapping[str, object]) -> None:
    """Raise SandboxUnavailable, naming every difference, unless the container is the spec's. All three are JSON."""
    request = spec.request()
    host = request.pop("HostConfig")
    assert isinstance(host, dict)
    differences = [
        *_config(request, _part(inspected, "Config"), _part(image, "Config")),
        *_host(host, _part(inspected, "HostConfig")),
        *_surroundings(spec, inspected),
    ]
    if differences:
        names = ", ".join(sorted(set(differences)))
        raise SandboxUnavailable(
            "The sandbox engine did not make what the profile asks.",
            detail=f"differs from {spec.profile}: {names}",
            metadata={"differences": names[:512]},
        )


def _config(wanted: Mapping[str, object], found: Mapping[str, object], image: Mapping[str, object]) -> Iterator[str]:
    expected = {**wanted}
    own = _texts(expected.pop("Env"))
    if not expected.get("Entrypoint"):
        expected["Entrypoint"] = image.get("Entrypoint")
        expected["Cmd"] = expected["Cmd"] or image.get("Cmd")
    expected["Labels"] = {**_part(image, "Labels"), **_part(wanted, "Labels")}
    for name, value in expected.items():
        if (found.get(name) or None) != (value or None):
            yield name
    environment = _texts(found.get("Env"))
    names = {entry.partition("=")[0] for entry in own}
    others = [entry for entry in environment if entry.partition("=")[0] not in names]
    if set(environment) - set(others) != set(own) or set(others) - set(_texts(image.get("Env"))) or _proxies(others):
        yield "Env"
    if found.get("Volumes"):
        yield "Volumes"


def _host(wanted: Mapping[str, object], found: Mapping[str, object]) -> Iterator[str]:
    for name, value in wanted.items():
        if found.get(name) != value:
            yield name
    for name, value in found.items():
        if name not in wanted and value and _NEUTRAL.get(name) != value:
            yield name


def _surroundings(spec: ContainerSpec, inspected: Mapping[str, object]) -> Iterator[str]:
    if inspected.get("Image") != spec.image_id:
        yield "Image"
    if inspected.get("Mounts"):
        yield "Mounts"
    if set(_part(_part(inspected, "NetworkSettings"), "Networks")) - {"none"}:
        yield "Networks"
    if spec.mode is Mode.FRAMED and [inspected.get("Path"), *_texts(inspected.get("Args"))] != [*spec.entrypoint]:
        yield "Path"


def _part(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def _proxies(environment: list[str]) -> set[str]:
    return {entry.partition("=")[0].upper() for entry in environment} & _PROXIES
