"""The runner's configuration: one frozen object from a TOML file < environment < flags. Unknown keys are errors.

    address of the gateway, pins, certificate chain, key, operator's statements, state folder, capacity, price
    images = the images by digest that jobs may use; "*" is any, for development

Secrets are paths, never values.
"""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from carnet.core import limits
from carnet.core.errors import FieldInvalid


class RunnerConfig(BaseSettings):
    """What one runner process needs. Environment: CARNET_RUNNER_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="CARNET_RUNNER_", extra="forbid", frozen=True)

    gateway: str
    pins: Path
    chain: Path
    key: Path
    status: Path
    ownership: Path
    state: Path
    docker: str | None = None
    images: tuple[str, ...] = Field(min_length=1)
    probe_image: str
    isolation: str = "container"
    slots: int = Field(default=1, ge=1, le=1024)
    cpu_millis: int = Field(default=1000, ge=10)
    memory_bytes: int = Field(default=512 * limits.MIB, ge=16 * limits.MIB)
    work_bytes: int = Field(default=256 * limits.MIB, ge=limits.MIB)
    price_micro_usd_second: int = Field(default=100, ge=0)
    uid_first: int = Field(default=70_000, ge=10_000)
    stop_seconds: int = Field(default=30, ge=0)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # no .env file is read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # secrets are paths
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags over environment over file."""
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))


def load_config(path: Path | None, **flags: Any) -> RunnerConfig:
    """Read the configuration. Raises `FieldInvalid`, which names every field that is wrong."""

    class FromFile(RunnerConfig):
        model_config = SettingsConfigDict(env_prefix="CARNET_RUNNER_", extra="forbid", frozen=True, toml_file=path)

    try:
        return FromFile(**flags)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'configuration'}: {e['msg']}" for e in error.errors())
        raise FieldInvalid(f"The configuration is not valid: {wrong}") from error
