"""Publishing: what becomes of a bundle before it is live: signed with the gateway's policy key, kept, and offered.

- Whatever came from outside was verified under the keys that the operator named (`bundle_of`), is no older than what
  came before, and passed the gate. It is then signed anew: an OPA and an officer hold one key, the gateway's.
- A bundle is kept, durable, before it is offered to anybody.
- Sequences of the gateway's own releases rise with time, also over a restart.

    publishing = Publishing(bundles, key, server, clock=time.time_ns)
    await publishing.publish(bundle)
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from gateway.bundleserver import BundleServer
from gateway.storage.bundles import BundleStore
from policy import gate, release
from policy.bundle import Bundle
from policy.signing import Keys, PolicyKey, public_key

# What OPAs and officers are told of a bundle that has no end of its own, because it is part of the installation.
own_days: Final = 366

_DAY_NS: Final = 86_400 * 10**9


class Publishing:
    """One gateway's releases."""

    def __init__(self, bundles: BundleStore, key: PolicyKey, server: BundleServer, *, clock: Callable[[], int]) -> None:
        self._bundles = bundles
        self._key = key
        self._server = server
        self._clock = clock
        self._sequence = 0

    async def publish(self, bundle: Bundle) -> None:
        """Sign, keep and offer. Raises `StoreUnavailable`; then nothing is offered."""
        stamp = self._stamp(bundle)
        archive = await asyncio.to_thread(release.pack, bundle, stamp=stamp, key=self._key)
        await self._bundles.keep(archive, revision=bundle.revision)
        self._server.offer(archive)

    def _stamp(self, bundle: Bundle) -> release.Stamp:
        now_ns = self._clock()
        self._sequence = max(self._sequence + 1, now_ns // 10**9)
        expires_ns = bundle.expires_ns or now_ns + own_days * _DAY_NS
        # One that has expired is published all the same: it answers nothing, and says why.
        return release.Stamp(sequence=self._sequence, issued_ns=min(now_ns, expires_ns - 1), expires_ns=expires_ns)


async def bundle_of(path: Path | None, keys: Mapping[str, Path], bundles: BundleStore) -> Bundle:
    """The bundle to start with: the packaged one, or the release in a file.

    Raises `BundleUnsigned`, `BundleOutdated`, `CredentialInvalid`, `FieldInvalid`, and `OSError` for a missing file.
    """
    if path is None:
        return await asyncio.to_thread(Bundle.load)
    found = await asyncio.to_thread(_read, path, keys)
    await bundles.admit(sequence=found.stamp.sequence, revision=found.bundle.revision)
    return found.bundle


def _read(path: Path, keys: Mapping[str, Path]) -> release.Release:
    trusted: Keys = {keyid: public_key(pem.read_bytes()) for keyid, pem in keys.items()}
    found = release.read(path.read_bytes(), trusted)
    gate.check(found.bundle.rules)
    return found
