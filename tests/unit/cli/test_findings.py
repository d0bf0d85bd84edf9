"""What the doctor looks at: a token's own word on its expiry, sockets, binaries; and it never prints a secret."""

import base64
import json
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.cli import findings
from carnet.cli.findings import State, expiry_seconds
from carnet.core.errors import FieldInvalid


def token(claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'ES256'})}.{part(claims)}.signature"


def test_the_expiry_is_read_from_the_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(token({"exp": 1_800_000_000, "nested": [1.5, None]}) + "\n")
    assert expiry_seconds(path) == 1_800_000_000


@pytest.mark.parametrize("claims", [{}, {"exp": None}, {"exp": "soon"}, {"exp": float("inf")}, [], 7, "text"], ids=str)
def test_a_token_with_no_expiry_is_named_and_not_shown(tmp_path: Path, claims: object) -> None:
    path = tmp_path / "token"
    path.write_text(token(claims))
    with pytest.raises(FieldInvalid) as raised:
        expiry_seconds(path)
    assert path.read_text() not in raised.value.text


@given(st.binary(max_size=200))
def test_any_bytes_are_a_token_or_raise_one_error(data: bytes) -> None:
    class Held:
        def read_text(self, encoding: str) -> str:
            return data.decode(encoding)

    with pytest.raises(FieldInvalid):
        expiry_seconds(Held())  # type: ignore[arg-type]


def test_a_docker_engine_that_answers_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "engine")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    assert findings.engine().state is State.ABSENT
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(5)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")

        thread = threading.Thread(target=answer)
        thread.start()
        found = findings.engine()
        thread.join(5)
    assert found.state is State.OK


def test_an_opa_is_looked_for_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARNET_OPA", str(tmp_path / "opa"))
    assert findings.opa().state is State.ABSENT
    (tmp_path / "opa").write_text("")
    (tmp_path / "opa").chmod(0o755)
    assert findings.opa().state is State.OK
