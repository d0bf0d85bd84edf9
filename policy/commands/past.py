"""What replay and simulation share: a window of time, decisions of the past with their inputs, and bundles to ask.

- Inputs are opened here, on the officer's machine, with the tenant's compliance key: a file that others can not read.
- A bundle is fetched, its signature verified under the policy keys in the pins, and its revisions held against those
  that the signed decision names.
- A decision whose input is no longer kept is passed over, and counted.
"""

import datetime
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from carnet.context import Context
from carnet.core import limits
from carnet.core.decision import Revisions
from carnet.core.errors import FieldInvalid
from carnet.core.hybrid import HybridPrivateKey
from carnet.officer import LoggedDecision, Officer
from carnet.tls import read_secret
from policy import release
from policy.bundle import Bundle
from policy.commands.common import moment
from policy.replay import PastDecision, check_bundle
from policy.signing import Keys, keyid_of

_AGO: Final = re.compile(r"([0-9]{1,5})([dh])")
_SECONDS: Final = {"d": 86_400, "h": 3600}


def since_ns(text: str | None) -> int:
    """A day, a time, or how long ago (`30d`, `12h`), as ns since 1970 UTC; None is 0. Raises `FieldInvalid`."""
    if text is None:
        return 0
    if found := _AGO.fullmatch(text):
        ago = datetime.timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
        return max(0, moment(None) - int(ago.total_seconds()) * 10**9)
    return moment(text)


def compliance_key(path: Path) -> HybridPrivateKey:
    """The tenant's compliance key from its file. Raises `CredentialInvalid`, `EnvelopeMalformed`."""
    return HybridPrivateKey.from_seed(read_secret(path, bytes_max=limits.hybrid_seed_bytes))


def policy_keys(context: Context) -> Keys:
    """The keys that bundles may be signed with, by the pins. Raises `FieldInvalid` where none is pinned."""
    found: dict[str, ec.EllipticCurvePublicKey] = {}
    for data in context.pins.gateway.policy_keys:
        public = load_der_public_key(data)
        assert isinstance(public, ec.EllipticCurvePublicKey), "pins hold keys on P-256 only"
        found[keyid_of(public)] = public
    if not found:
        raise FieldInvalid("The pins name no policy key of the gateway.", metadata={"field": "policy_keys"})
    return found


async def fetched(officer: Officer, revisions: Revisions, keys: Keys) -> Bundle:
    """The bundle of these revisions, verified. Raises `NotFound`, or a `PeerError` where it is not that."""
    found = release.read(await officer.bundle(revisions.bundle), keys)
    check_bundle(found.bundle, revisions)
    return found.bundle


@dataclass(slots=True, kw_only=True)
class Window:
    """The decisions of a time, oldest first, or those that were named; `passed_over` have no input that is kept."""

    officer: Officer
    key: HybridPrivateKey
    from_ns: int = 0
    names: tuple[str, ...] = ()
    passed_over: list[str] = field(default_factory=list)

    async def decisions(self) -> AsyncGenerator[tuple[LoggedDecision, PastDecision], None]:
        """Each with its opened input. Raises `EnvelopeUnopened` where the key is another."""
        async for found in self._found():
            if not found.sealed_input:
                self.passed_over.append(found.summary.name)
                continue
            opened = found.open_input(self.key)
            yield (
                found,
                PastDecision(name=found.summary.name, record=found.record, body=found.body, input=opened),
            )

    async def _found(self) -> AsyncGenerator[LoggedDecision, None]:
        if not self.names:
            async for found in self.officer.export(from_ns=self.from_ns):
                yield found
        for name in self.names:
            yield await self.officer.decision(name)
