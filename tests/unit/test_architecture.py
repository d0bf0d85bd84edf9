"""The arrows of docs/architecture.md, held over every import in the tree.

A rule takes sources (path -> text) and yields what breaks it, so that each rule is also shown a planted violation: one
that could not fail would hold nothing. A new file or library goes into a table here, or nowhere.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
Sources = Mapping[str, str]

OURS = ("buf", "carnet", "certs", "gateway", "policy", "sandbox")

# The longest matching name on the left may import what starts with a name on the right, itself included.
ARROWS: dict[str, tuple[str, ...]] = {
    "buf": ("buf",),
    "carnet": ("carnet",),
    "carnet.core": ("carnet.core",),
    "carnet.v1": ("carnet.v1", "buf"),
    "certs": ("certs", "carnet.core", "carnet.pins", "carnet.statements", "carnet.tls", "carnet.wire", "carnet.v1"),
    "gateway": ("gateway", "policy", "carnet"),
    "policy": ("policy", "carnet.core"),
    "policy.commands": ("policy", "carnet"),
    "sandbox": ("sandbox", "carnet"),
}

# Who may import what only a few may. A path that ends in "/" is a folder.
CLIENT = (
    "carnet/answers.py",
    "carnet/client.py",
    "carnet/inbox.py",
    "carnet/officer.py",
    "carnet/outbox.py",
    "carnet/policyanswers.py",
    "carnet/policyofficer.py",
    "carnet/proof.py",
    "carnet/rpc.py",
    "carnet/submission.py",
    "carnet/transfers.py",
)
TRANSLATION = ("carnet/statements.py", "carnet/verdict.py", "carnet/vetting.py", "carnet/wire.py")
AGENT = ("sandbox/agent.py", "sandbox/delivery.py", "sandbox/link.py")
SERVICES = (
    "gateway/decisions.py",
    "gateway/deliveries.py",
    "gateway/exemptions.py",
    "gateway/intake.py",
    "gateway/jobs.py",
    "gateway/messages.py",
    "gateway/openings.py",
    "gateway/overlayfiles.py",
    "gateway/policies.py",
    "gateway/policymessages.py",
    "gateway/preparing.py",
    "gateway/recipients.py",
    "gateway/returns.py",
    "gateway/runners.py",
)
SQL = (
    "gateway/storage/store.py",
    "gateway/storage/tables.py",
    "gateway/storage/rows.py",
    "gateway/storage/queries.py",
    "gateway/storage/decisionrows.py",
    "gateway/storage/changes.py",
    "gateway/storage/policychanges.py",
    "gateway/storage/policyqueries.py",
    "gateway/storage/policyrows.py",
    "gateway/storage/policytables.py",
    "gateway/storage/gathering.py",
    "gateway/auditlog.py",
    "gateway/storage/sequencer.py",
    "gateway/storage/writer.py",
    "gateway/storage/migrations/",
)
KEPT: dict[str, tuple[str, ...]] = {
    "aiohttp": ("policy/engines/opa.py",),
    "alembic": SQL,
    "carnet.v1": (*CLIENT, *TRANSLATION, *SERVICES, *AGENT, "carnet/v1/"),
    "docker": ("sandbox/docker.py",),
    "jsonschema_rs": ("policy/schemas.py",),
    "jwt": ("gateway/tokens.py",),
    "numpy": ("gateway/roster.py",),
    "opa_client": ("policy/engines/opa.py",),
    "regorus": ("policy/engines/embedded.py", "policy/gate.py"),
    "prometheus_client": ("gateway/metrics.py",),
    "protovalidate": ("carnet/validation.py", "gateway/validation.py"),
    "pydantic": ("gateway/config.py", "sandbox/config.py"),
    "pydantic_settings": ("gateway/config.py", "sandbox/config.py"),
    "pynvml": ("sandbox/devices.py",),
    "requests": ("sandbox/docker.py",),
    "sqlalchemy": SQL,
}

# What works on values alone. Nothing here reads a clock, a file, a socket, the environment or a source of randomness.
# fmt: off
CORE_LIBRARY = frozenset((
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "copy", "dataclasses", "datetime", "decimal",
    "enum", "fractions", "functools", "hashlib", "heapq", "hmac", "ipaddress", "itertools", "json", "math", "operator",
    "re", "string", "struct", "textwrap", "types", "typing", "unicodedata",
))
# fmt: on
CORE_OUTSIDE = frozenset({"cryptography"})
# Calls that take from the world what must come in as a value, though their module may be imported.
CORE_CALLS = frozenset(("now", "utcnow", "today", "open", "input", "print", "eval", "exec", "compile", "breakpoint"))

# With an __init__.py, proto/ would shadow another distribution; the others would become packages, which none imports.
NOT_PACKAGES = ("deploy", "docs", "proto", "tests")


LAZY = ("if TYPE_CHECKING:", "def __getattr__(name: str)")


def module_of(path: str) -> str:
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def starts_with(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def in_any(path: str, places: tuple[str, ...]) -> bool:
    return any(path.startswith(place) if place.endswith("/") else path == place for place in places)


def absolute(node: ast.ImportFrom, path: str) -> str:
    if not node.level:
        return node.module or ""
    package = PurePosixPath(path).parent.parts
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def imports(path: str, text: str) -> Iterator[tuple[int, str]]:
    """Every import of a file, at any depth. `from a import b` counts as `a.b`: b may be a module."""
    for node in ast.walk(ast.parse(text, path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{absolute(node, path)}.{alias.name}") for alias in node.names)


def packages_only(sources: Sources) -> Sources:
    return {path: text for path, text in sources.items() if path.endswith(".py") and path.split("/")[0] in OURS}


def arrows(sources: Sources) -> Iterator[str]:
    for path, text in packages_only(sources).items():
        part = max((name for name in ARROWS if starts_with(module_of(path), name)), key=len)
        for line, name in imports(path, text):
            ours = name.split(".")[0] in OURS
            if ours and not any(starts_with(name, allowed) for allowed in ARROWS[part]):
                yield f"{path}:{line} imports {name}; {part} may import {', '.join(ARROWS[part])}"


def kept(sources: Sources) -> Iterator[str]:
    for path, text in packages_only(sources).items():
        for line, name in imports(path, text):
            for library, places in KEPT.items():
                if starts_with(name, library) and not in_any(path, places):
                    yield f"{path}:{line} imports {name}, which is kept in {', '.join(places)}"


def pure_core(sources: Sources) -> Iterator[str]:
    for path, text in packages_only(sources).items():
        if not path.startswith("carnet/core/"):
            continue
        for line, name in imports(path, text):
            top = name.split(".")[0]
            if top not in CORE_LIBRARY | CORE_OUTSIDE and not starts_with(name, "carnet.core"):
                yield f"{path}:{line} imports {name}: core takes values"
        for node in ast.walk(ast.parse(text, path)):
            if isinstance(node, ast.Call) and called(node) in CORE_CALLS:
                yield f"{path}:{node.lineno} calls {called(node)}: core takes values and `now`"


def called(node: ast.Call) -> str:
    """The name that is called: `open(...)`, and among methods the readings of a clock: `datetime.now(...)`."""
    match node.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id="date" | "datetime") | ast.Attribute(attr="date" | "datetime"), attr=name):
            return name
    return ""


def names_of_packages(sources: Sources) -> Iterator[str]:
    for path in packages_only(sources):
        for part in PurePosixPath(path).with_suffix("").parts[1:]:
            if part in (*OURS, *NOT_PACKAGES):
                yield f"{path} has the name of the top-level {part}"


def no_dynamic_imports(sources: Sources) -> Iterator[str]:
    for path, text in packages_only(sources).items():
        for line, name in imports(path, text):
            if name in ("importlib.import_module", "runpy.run_module") or starts_with(name, "imp"):
                yield f"{path}:{line} imports {name}: an arrow that no test can see"
        for node in ast.walk(ast.parse(text, path)):
            if isinstance(node, ast.Attribute) and node.attr in ("import_module", "run_module"):
                yield f"{path}:{node.lineno} uses {node.attr}: an arrow that no test can see"
            if isinstance(node, ast.Name) and node.id == "__import__":
                yield f"{path}:{node.lineno} uses __import__: an arrow that no test can see"


def quiet_packages(sources: Sources) -> Iterator[str]:
    """An __init__.py holds a docstring, imports, and plain names; the SDK's gives its one name lazily (PEP 562)."""
    for path, text in packages_only(sources).items():
        if not path.endswith("__init__.py"):
            continue
        for node in ast.parse(text, path).body:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            naming = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.List | ast.Tuple)
            if path == "carnet/__init__.py" and ast.unparse(node).startswith(LAZY):
                continue
            if not (docstring or naming or isinstance(node, ast.Import | ast.ImportFrom)):
                yield f"{path}:{node.lineno} holds logic"


def folders_that_are_no_packages(sources: Sources) -> Iterator[str]:
    for path in sources:
        if path.split("/")[0] in NOT_PACKAGES and path.endswith("__init__.py"):
            yield f"{path}: {path.split('/')[0]} is not a package"


Rule = Callable[[Sources], Iterator[str]]
RULES: tuple[Rule, ...] = (
    arrows,
    kept,
    pure_core,
    names_of_packages,
    no_dynamic_imports,
    quiet_packages,
    folders_that_are_no_packages,
)

PLANTS: tuple[tuple[Rule, str, str], ...] = (
    (arrows, "carnet/core/job.py", "import policy.engine"),
    (arrows, "carnet/core/job.py", "from carnet import wire"),
    (arrows, "carnet/core/job.py", "from .. import wire"),
    (arrows, "carnet/client.py", "from gateway.storage.store import Store"),
    (arrows, "carnet/cli/policy_commands.py", "def late():\n    import policy.commands"),
    (arrows, "carnet/v1/jobs_pb2.py", "import carnet.client"),
    (arrows, "policy/engines/opa.py", "import carnet.wire"),
    (arrows, "policy/engines/opa.py", "import gateway"),
    (arrows, "policy/replay.py", "import carnet.officer"),
    (arrows, "policy/commands/decisions.py", "import gateway.decisions"),
    (arrows, "certs/authority.py", "import carnet.client"),
    (arrows, "certs/authority.py", "import gateway.storage.store"),
    (arrows, "gateway/jobs.py", "from sandbox import cage"),
    (arrows, "gateway/jobs.py", "import certs.authority"),
    (arrows, "sandbox/agent.py", "import policy"),
    (arrows, "sandbox/agent.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import gateway"),
    (kept, "sandbox/worker.py", "import docker"),
    (kept, "sandbox/worker.py", "from carnet.v1 import jobs_pb2"),
    (kept, "policy/engine.py", "from opa_client.opa import OpaClient"),
    (kept, "gateway/identity.py", "import jwt"),
    (kept, "gateway/dispatch.py", "from sqlalchemy import select"),
    (kept, "gateway/jobs.py", "import numpy as np"),
    (kept, "carnet/tls.py", "from carnet import v1"),
    (pure_core, "carnet/core/lease.py", "import time"),
    (pure_core, "carnet/core/lease.py", "from os import environ"),
    (pure_core, "carnet/core/lease.py", "import secrets"),
    (pure_core, "carnet/core/lease.py", "import socket"),
    (pure_core, "carnet/core/lease.py", "import random"),
    (pure_core, "carnet/core/lease.py", "from pathlib import Path"),
    (pure_core, "carnet/core/lease.py", "import grpc"),
    (pure_core, "carnet/core/lease.py", "from datetime import UTC, datetime\nmade = datetime.now(UTC)"),
    (pure_core, "carnet/core/lease.py", "import datetime\nmade = datetime.datetime.now()"),
    (pure_core, "carnet/core/lease.py", "text = open('/etc/hostname').read()"),
    (names_of_packages, "gateway/policy.py", ""),
    (names_of_packages, "sandbox/gateway/__init__.py", ""),
    (no_dynamic_imports, "carnet/cli/main.py", "import importlib\nimportlib.import_module('gateway')"),
    (no_dynamic_imports, "carnet/cli/main.py", "from importlib import import_module"),
    (no_dynamic_imports, "carnet/cli/main.py", "__import__('gateway')"),
    (quiet_packages, "gateway/__init__.py", "def start(): ..."),
    (quiet_packages, "gateway/__init__.py", "store = open('store')"),
    (folders_that_are_no_packages, "proto/__init__.py", ""),
    (folders_that_are_no_packages, "tests/unit/__init__.py", ""),
    (folders_that_are_no_packages, "docs/adr/__init__.py", ""),
)


def tree() -> Sources:
    folders = [ROOT / name for name in (*OURS, *NOT_PACKAGES)]
    found = [path for folder in folders for path in folder.rglob("*.py") if ".venv" not in path.parts]
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in found}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule: Rule) -> None:
    sources = tree()
    assert len(sources) > 20
    broken = list(rule(sources))
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    PLANTS,
    ids=[f"{rule.__name__}-{path}-{number}" for number, (rule, path, _) in enumerate(PLANTS)],
)
def test_control_a_planted_violation_is_caught(rule: Rule, path: str, text: str) -> None:
    assert len(list(rule({path: text}))) == 1


def test_control_what_is_allowed_is_not_caught() -> None:
    allowed = {
        "carnet/core/lease.py": "from datetime import datetime\nfrom cryptography import x509\nfrom . import job",
        "carnet/wire.py": "from carnet.v1 import jobs_pb2\nfrom carnet.core import job",
        "gateway/app.py": "import policy.engine\nfrom carnet.core import errors\nimport grpc",
        "sandbox/docker.py": "import docker",
        "sandbox/__init__.py": '"""The runner."""\n\n__version__ = "1"',
    }
    assert [found for rule in RULES for found in rule(allowed)] == []


def test_every_rule_has_a_control() -> None:
    assert {rule for rule, _, _ in PLANTS} == set(RULES)


def test_the_tables_name_what_exists() -> None:
    assert set(ARROWS) >= set(OURS)
    assert {name for name in CORE_LIBRARY if name not in sys.stdlib_module_names} == set()
    assert [name for name in OURS if not (ROOT / name / "__init__.py").is_file()] == []
