"""Which engine is taken: as named, or the first that there is; and never another one in its place."""

import os
from pathlib import Path

import pytest

from carnet.core.errors import FieldInvalid, PolicyEngineUnavailable
from gateway.config import Policy
from policy.bundle import Bundle
from policy.engines.choice import EngineName, find_opa, opened
from policy.engines.embedded import EmbeddedEngine
from policy.engines.opa import OpaServer

BUNDLE = Bundle.load()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without an OPA."""
    monkeypatch.delenv("CARNET_OPA", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


async def test_without_an_opa_auto_is_the_embedded_engine(bare: Path) -> None:
    assert find_opa() is None
    engine = await opened(EngineName.AUTO, bundle=BUNDLE)
    assert isinstance(engine, EmbeddedEngine)
    await engine.close()


async def test_a_url_goes_first(bare: Path) -> None:
    for name in (EngineName.AUTO, EngineName.OPA):
        engine = await opened(name, bundle=BUNDLE, url="http://127.0.0.1:8181")
        assert isinstance(engine, OpaServer)
        await engine.close()


async def test_opa_where_there_is_none_is_no_engine_at_all(bare: Path) -> None:
    with pytest.raises(PolicyEngineUnavailable, match="No OPA"):
        await opened(EngineName.OPA, bundle=BUNDLE)


async def test_an_opa_that_does_not_start_is_not_replaced(bare: Path) -> None:
    broken = bare / "opa"
    broken.write_text("#!/bin/false\n")
    broken.chmod(0o755)
    assert find_opa() == broken
    with pytest.raises(PolicyEngineUnavailable, match="no usable answer"):
        await opened(EngineName.AUTO, bundle=BUNDLE)


async def test_the_embedded_engine_is_taken_by_name_whatever_else_there_is(bare: Path) -> None:
    engine = await opened(EngineName.EMBEDDED, bundle=BUNDLE, binary=Path(os.devnull))
    assert isinstance(engine, EmbeddedEngine)
    await engine.close()


def test_a_configuration_names_one_engine() -> None:
    assert Policy().engine is EngineName.AUTO
    for wrong in (
        {"url": "http://127.0.0.1:1", "opa": "/opa"},
        {"engine": "embedded", "opa": "/opa"},
        {"engine": "embedded", "url": "http://127.0.0.1:1"},
        {"engine": "regopy"},
    ):
        with pytest.raises(ValueError, match=r"policy\.|embedded|Input should be"):
            Policy.model_validate(wrong)


async def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(FieldInvalid):
        await opened(EngineName.AUTO, bundle=BUNDLE, url="ftp://127.0.0.1")
