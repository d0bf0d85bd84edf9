"""The gateway's configuration: one frozen object from a TOML file < environment < flags. Unknown keys are errors.

    pins = "pins.json"
    state = "state"
    [enterprise]   listen, certificate, key            [runner]    listen, certificate, key
    [keys]         decision, log, page, policy (paths) [policy]    engine, url or opa (a binary), bundle, keys, serve
    [tokens]       audience, issuer, jwks (a file or an https URL)
    [metrics]      listen                              [lease]     seconds (10 to 60)
    [exemptions]   quorum (1 to 8)                     [screening]    results (a file), days (1 to 366)
    [decisions]    days, and days by tenant id in [decisions.tenants]

Secrets are paths, never values. Listeners are on loopback unless they say otherwise.
"""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from carnet.core import limits
from carnet.core.errors import FieldInvalid
from policy.engines.choice import EngineName


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Listener(Section):
    """One gRPC listener with mutual TLS. Port 0 takes a free one."""

    listen: str
    certificate: Path
    key: Path


class Keys(Section):
    """Where the gateway's own keys are."""

    decision: Path
    log: Path
    page: Path
    policy: Path


class Policy(Section):
    """Which policy engine: an OPA by URL, one to supervise, or the embedded one; `auto` takes them in that order.

    `bundle` is a release to run instead of the packaged rules, signed by one of `keys` (keyid to a public key in PEM).
    `serve` is where an OPA by URL fetches the live bundle.
    """

    engine: EngineName = EngineName.AUTO
    url: str | None = None
    opa: Path | None = None
    bundle: Path | None = None
    keys: dict[str, Path] = Field(default_factory=dict)
    serve: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.url is not None and self.opa is not None:
            raise ValueError("name either policy.url (an OPA server) or policy.opa (a binary to supervise)")
        if self.engine is EngineName.EMBEDDED and (self.url is not None or self.opa is not None):
            raise ValueError("the embedded engine takes neither policy.url nor policy.opa")
        if self.bundle is not None and not self.keys:
            raise ValueError("policy.bundle needs policy.keys: an unsigned bundle is not taken")
        if self.serve is not None and self.url is None:
            raise ValueError("policy.serve is for an OPA by policy.url")
        return self


class Tokens(Section):
    """Who issues the enterprise's tokens, for which audience, and where its public keys are."""

    audience: str
    issuer: str
    jwks: str


class Metrics(Section):
    """Where Prometheus reads."""

    listen: str = "127.0.0.1:0"


class Lease(Section):
    """How long a runner may work without word from its gateway: shorter finds lost runners sooner, and asks more."""

    seconds: int = Field(default=limits.lease_seconds, ge=limits.lease_seconds_min, le=limits.lease_seconds)


class Exemptions(Section):
    """How many persons, beside who asked for it, an exemption takes."""

    quorum: int = Field(default=2, ge=1, le=limits.approval_quorum_max)


Days = Annotated[int, Field(ge=1, le=limits.decision_days_max)]
TenantName = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class Decisions(Section):
    """How many days masked events and sealed inputs of decisions are kept; `tenants` are those with another count."""

    days: Days = limits.decision_days
    tenants: dict[TenantName, Days] = Field(default_factory=dict)

    @property
    def tenant_days(self) -> dict[bytes, int]:
        """Days by tenant id, 16 bytes."""
        return {bytes.fromhex(name): days for name, days in self.tenants.items()}


class Screening(Section):
    """A file of denied-party results (`gateway/screening.py`), and how many days a clear one counts.

    Without a file nobody is screened, and decisions say so.
    """

    results: Path | None = None
    days: int = Field(default=limits.screening_days, ge=1, le=limits.screening_days_max)


class GatewayConfig(BaseSettings):
    """What one gateway process needs. Environment: CARNET_GATEWAY_<SECTION>__<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="CARNET_GATEWAY_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    pins: Path
    state: Path
    enterprise: Listener
    runner: Listener
    keys: Keys
    policy: Policy
    tokens: Tokens
    metrics: Metrics = Field(default_factory=Metrics)
    lease: Lease = Field(default_factory=Lease)
    exemptions: Exemptions = Field(default_factory=Exemptions)
    decisions: Decisions = Field(default_factory=Decisions)
    screening: Screening = Field(default_factory=Screening)
    reflection: bool = False

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


def load_config(path: Path | None, **flags: Any) -> GatewayConfig:
    """Read the configuration. Raises `FieldInvalid`, which names every field that is wrong."""

    class FromFile(GatewayConfig):
        model_config = SettingsConfigDict(
            env_prefix="CARNET_GATEWAY_", env_nested_delimiter="__", extra="forbid", frozen=True, toml_file=path
        )

    try:
        return FromFile(**flags)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'configuration'}: {e['msg']}" for e in error.errors())
        raise FieldInvalid(f"The configuration is not valid: {wrong}") from error
