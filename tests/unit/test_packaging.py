"""What is installed is what is in the tree, and a customer gets the client alone."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("buf", "carnet", "certs", "gateway", "policy", "sandbox")
CUSTOMERS = ("buf", "carnet")
BUILD_SECONDS_MAX = 100


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """The standard output of a command that must succeed."""
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=plain, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def places(cwd: Path) -> dict[str, Path]:
    """Where a fresh interpreter finds each of our packages."""
    program = f"import {', '.join(OURS)}\nfor each in ({', '.join(OURS)},): print(each.__name__, each.__file__)"
    lines = run(sys.executable, "-c", program, cwd=cwd).splitlines()
    return {name: Path(place).parent for name, place in (line.split(" ", 1) for line in lines)}


def uv() -> str:
    found = os.environ.get("CARNET_UV") or shutil.which("uv")
    assert found, "uv is neither in CARNET_UV nor on PATH: run this through ./dev test"
    return found


def project(path: Path) -> dict[str, object]:
    settings: dict[str, object] = tomllib.loads(path.read_text("utf-8"))["project"]
    return settings


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that customers install."""
    out = tmp_path_factory.mktemp("wheel")
    run(uv(), "build", "--quiet", "--wheel", "--out-dir", out, ROOT / "sdk")
    [built] = out.glob("carnet-*.whl")
    return built


def test_our_packages_are_the_ones_imported(tmp_path: Path) -> None:
    assert places(tmp_path) == {name: ROOT / name for name in OURS}


def test_control_a_foreign_distribution_of_the_same_name_is_noticed(tmp_path: Path) -> None:
    foreign = tmp_path / "policy"
    foreign.mkdir()
    (foreign / "__init__.py").touch()
    assert places(tmp_path)["policy"] == foreign


def test_both_projects_carry_one_version() -> None:
    assert project(ROOT / "pyproject.toml")["version"] == project(ROOT / "sdk/pyproject.toml")["version"]


def test_the_customers_dependencies_are_among_those_that_are_tested() -> None:
    def names(path: Path) -> set[str]:
        listed = project(path)["dependencies"]
        assert isinstance(listed, list)
        return {str(each).split(">=")[0] for each in listed}

    assert names(ROOT / "sdk/pyproject.toml") <= names(ROOT / "pyproject.toml")


def test_the_customers_wheel_holds_the_client_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(CUSTOMERS)
    assert "carnet/core/envelope.py" in names
    assert "carnet/py.typed" in names
    assert "buf/validate/validate_pb2.py" in names
    assert [name for name in names if "__pycache__" in name or name.endswith(".key.pem")] == []


@pytest.mark.parametrize("runtime", ["protobuf<7", "protobuf>=7"])
def test_a_customer_installs_the_wheel_in_an_empty_environment(wheel: Path, tmp_path: Path, runtime: str) -> None:
    python = tmp_path / "environment/bin/python"
    run(uv(), "venv", "--quiet", "--python", sys.executable, tmp_path / "environment")
    run(uv(), "pip", "install", "--quiet", "--python", python, wheel, runtime)
    version = run(tmp_path / "environment/bin/carnet", "version", cwd=tmp_path)
    assert str(project(ROOT / "sdk/pyproject.toml")["version"]) in version
    modules = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "carnet").rglob("*.py")]
    imported = "\n".join(f"import {'.'.join(module.parts)}" for module in modules if module.name != "__init__")
    run(python, "-W", "error", "-c", imported, cwd=tmp_path)
    found = run(
        python, "-c", f"import importlib.util as u\nprint(*(n for n in {OURS} if u.find_spec(n)))", cwd=tmp_path
    )
    assert tuple(found.split()) == CUSTOMERS


def test_the_operators_wheel_ships_rules_and_data(tmp_path: Path) -> None:
    run(uv(), "build", "--quiet", "--wheel", "--out-dir", tmp_path, ROOT)
    with zipfile.ZipFile(next(tmp_path.glob("carnet_server-*.whl"))) as archive:
        names = set(archive.namelist())
    shipped = [
        path for name in OURS for path in (ROOT / name).rglob("*") if path.suffix in (".json", ".py", ".rego", ".yaml")
    ]
    assert {path.relative_to(ROOT).as_posix() for path in shipped if "__pycache__" not in path.parts} <= names
