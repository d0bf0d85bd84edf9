"""The command itself: its help, its codes, its silence about tracebacks, and the roles that it finds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from carnet.cli.main import build, main
from carnet.core.errors import GatewayUnavailable

IMAGE = "sha256:" + "0" * 64
NOUNS = {"audit", "doctor", "job", "run", "version"}
DECLARED = ("--data-class", "technical", "--origin", "DE", "--controlled", "no", "--controller", "hospital.example")


def call(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capfd.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


@pytest.fixture(autouse=True)
def _nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("CARNET_CONTEXT", raising=False)
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    monkeypatch.chdir(tmp_path)


def role(folder: Path, *entries: str, **modules: str) -> None:
    """A distribution that brings commands."""
    info = folder / "some_role-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-role\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[carnet.commands]\n" + "\n".join(entries) + "\n")
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)


def test_the_help_names_every_noun_and_says_what_it_does(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capfd, "--help")
    assert code == 0
    described = {line.split()[1]: line.split()[2:-1] for line in out.splitlines() if line.startswith("│")}
    assert set(described) >= NOUNS
    assert not [noun for noun in NOUNS if not described[noun]]


@pytest.mark.parametrize(
    "command",
    [
        ("run",),
        ("job",),
        *(("job", verb) for verb in ("prepare", "list", "get", "watch", "result", "recipients", "cancel")),
        ("audit",),
        ("audit", "verify"),
        ("doctor",),
        ("version",),
    ],
    ids=" ".join,
)
def test_every_command_has_help(command: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capfd, *command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: carnet {' '.join(command)}")
    assert len(out.splitlines()[2]) > 10


def test_the_version_is_said_as_words_and_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capfd, "version", "-o", "json")
    assert code == 0
    assert set(json.loads(out)) == {"carnet", "python", "grpcio", "protobuf", "cryptography"}
    assert json.loads(out)["carnet"] in call(capfd, "version")[1]
    assert call(capfd, "--version")[1].strip() == json.loads(out)["carnet"]


def test_version_and_help_load_nothing_heavy() -> None:
    program = "import sys\nfrom carnet.cli.main import main\ntry: main(['version'])\nexcept SystemExit: pass\n"
    program += "print([name for name in ('grpc', 'cryptography', 'policy', 'certs') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nonsense",), 2),
        (("job", "get"), 2),
        (("job", "get", "not a name"), 2),
        (("job", "list"), 2),
        (("job", "list", "-o", "yaml"), 2),
        (("audit", "verify", "nothing", "--pins", "nothing"), 2),
        (("run", IMAGE, "--data-class", "health", "--origin", "DE", "--controlled", "no", "--", "true"), 2),
        (("run", IMAGE, *DECLARED, "--input", "nothing", "--", "true"), 2),
        (("run", IMAGE, *DECLARED, "--env", "NOT_SET_HERE", "--", "true"), 2),
        (("run", IMAGE, *DECLARED), 2),
        (("run", "latest", *DECLARED, "--", "true"), 2),
        (("run", IMAGE, "--facts", "nothing.json", "--", "true"), 2),
        (("run", IMAGE, *DECLARED, "--facts", "nothing.json", "--", "true"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_wrong_usage_ends_with_2_on_stderr_and_with_no_traceback(
    arguments: tuple[str, ...], code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    found, out, err = call(capfd, *arguments)
    assert (found, out) == (code, "")
    assert err.strip()
    assert "Traceback" not in err
    assert "fault in Carnet" not in err


def test_debug_shows_the_traceback_unless_it_is_the_job_s_own_word(capfd: pytest.CaptureFixture[str]) -> None:
    assert "Traceback" in call(capfd, "job", "list", "--debug")[2]
    assert "Traceback" not in call(capfd, "run", IMAGE, *DECLARED, "--", "true", "--debug")[2]


def test_the_facts_that_options_declare_are_printed_and_can_be_given_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capfd, "run", "--only", "EEA", *DECLARED, "--print-facts", IMAGE, "--", "true")
    assert (code, err) == (0, "")
    (tmp_path / "facts.json").write_text(out)
    again = call(capfd, "run", IMAGE, "--facts", "facts.json", "--print-facts", "--", "true")
    assert again == (0, out, "")
    other = call(capfd, "run", "sha256:" + "1" * 64, "--facts", "facts.json", "--print-facts", "--", "true")
    assert (other[0], other[1]) == (2, "")
    assert "image" in other[2]


def test_a_file_that_is_no_receipt_ends_with_2_and_one_that_proves_nothing_with_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from certs.development import build as build_pki
    from tests.fixtures.identity import NOW

    pins = str(build_pki(tmp_path / "pki", now=NOW).pins)
    (tmp_path / "nonsense").write_bytes(b"nonsense")
    (tmp_path / "empty").write_bytes(b"carnet receipt v1\n")
    assert call(capfd, "audit", "verify", "nonsense", "--pins", pins)[0] == 2
    code, out, err = call(capfd, "audit", "verify", "empty", "--pins", pins, "-o", "json")
    assert code == 1
    assert json.loads(out)["verified"] is False
    assert "DOES NOT HOLD" in err


def test_the_doctor_says_what_is_missing_with_no_context(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capfd, "doctor", "-o", "json")
    assert code == 2
    found = {finding["name"]: finding["state"] for finding in json.loads(out)}
    assert found["context"] == "missing"
    assert set(found) == {"context", "docker", "opa"}


def test_a_role_s_command_appears_with_its_help_and_its_errors_have_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (
        "from cyclopts import App\nfrom carnet.core.errors import GatewayUnavailable\n"
        "app = App(name='tower', help='Look far.')\n"
        "@app.default\ndef look(*, far: bool = False) -> int:\n"
        "    if far:\n        raise GatewayUnavailable('too far')\n    print('seen')\n    return 0\n"
    )
    role(tmp_path / "site", "tower = some_role_tower:app", some_role_tower=text)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert "Look far." in call(capfd, "--help")[1]
    assert call(capfd, "tower") == (0, "seen\n", "")
    code, out, err = call(capfd, "tower", "--far")
    assert (code, out) == (6, "")
    assert err == f"carnet: {GatewayUnavailable.reason}: too far\n"


def test_a_role_that_can_not_be_loaded_takes_nothing_else_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    role(tmp_path / "site", "broken = no_such_module:app")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert "can not be loaded" in call(capfd, "--help")[1]
    assert call(capfd, "version")[0] == 0
    code, _, err = call(capfd, "broken")
    assert code == 70
    assert "Traceback" not in err


def test_attack_a_role_can_not_take_the_place_of_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    taken = (
        "from cyclopts import App\napp = App(name='audit')\n@app.command\ndef verify(file: str) -> int:\n    return 0\n"
    )
    role(tmp_path / "site", "audit = some_role_audit:app", "other = some_role_audit:app", some_role_audit=taken)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert "other" in build(describe=False), "the control: the role's own name is taken up"
    assert call(capfd, "audit", "verify", "nothing", "--pins", "nothing")[0] == 2


def test_an_output_that_nobody_reads_ends_the_command_quietly() -> None:
    command = Path(sys.executable).parent / "carnet"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([command, "version"], stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
