"""What a simulation sets beside each other: what decides for the tenant now, and what would with a draft.

- A draft is the folder of an overlay, or a signed release of the rules of all.
- The gateway says which bundle is live, and which overlay in it is the tenant's, in one answer. The archive is verified
  under the policy keys in the pins, and is of that revision or no good.
- An overlay takes the place of the tenant's active one, whatever that is called. A release takes the place of the rules
  of all, and the tenant's active overlay is put in again, from its files.

    draft = read_draft(Path("overlay/"), None)
    live = await live_law(officer, keys)
    then = await draft.beside(live, officer)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from carnet.core.errors import FieldInvalid, StatementInvalid
from carnet.policyofficer import PolicyOfficer
from policy import gate, release
from policy.bundle import Bundle
from policy.commands.common import read
from policy.overlay import Overlay
from policy.signing import Keys, keyid_of, public_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """A bundle, and the name of the overlay that decides there for the tenant; nothing where it has none."""

    bundle: Bundle
    overlay: str


class Draft(Protocol):
    """Something that does not decide yet."""

    async def beside(self, live: Law, officer: PolicyOfficer) -> Law:
        """What would decide with it. Raises `FieldInvalid` where it does not go with the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayDraft:
    """An overlay of the tenant."""

    overlay: Overlay

    async def beside(self, live: Law, officer: PolicyOfficer) -> Law:  # noqa: ARG002  # it needs no other file
        """The live rules of all, with this overlay."""
        return Law(bundle=live.bundle.with_overlays([self.overlay]), overlay=self.overlay.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDraft:
    """Rules and data of all, as a gateway would start with them."""

    bundle: Bundle

    async def beside(self, live: Law, officer: PolicyOfficer) -> Law:
        """These, with the tenant's active overlay in them. Raises `StatementInvalid` where that is not the live one."""
        if not live.overlay:
            return Law(bundle=self.bundle, overlay="")
        active = await officer.active()
        if active is None or active.overlay != live.overlay:
            raise StatementInvalid("The active revision is not of the overlay that is live; ask again.")
        overlay = Overlay.read(active.overlay, dict(active.files))
        return Law(bundle=self.bundle.with_overlays([overlay]), overlay=overlay.name)


def read_draft(path: Path, public: Path | None) -> Draft:
    """The draft in a folder, or in a release's file that this public key signed.

    Raises `FieldInvalid` where it is neither, or where a key is missing or is one too many, and `BundleUnsigned`.
    """
    if not path.is_file():
        if public is not None:
            raise FieldInvalid("Only a release is signed; name its file.", metadata={"field": "public"})
        return OverlayDraft(overlay=Overlay.load(path))
    if public is None:
        raise FieldInvalid("Say which key must have signed the release (--public).", metadata={"field": "public"})
    key = public_key(read(public))
    bundle = release.read(read(path), {keyid_of(key): key}).bundle
    if bundle.overlays:
        raise FieldInvalid("The release holds overlays; it is not of the rules of all.", metadata={"field": "draft"})
    gate.check(bundle.rules)
    return ReleaseDraft(bundle=bundle)


async def live_law(officer: PolicyOfficer, keys: Keys) -> Law:
    """What decides for the tenant now. Raises `NotFound`, or a `PeerError` where it is not what the gateway said."""
    revision, rules = await officer.rules()
    found = release.read(await officer.bundle(revision), keys).bundle
    names = {rule.overlay for rule in rules if rule.overlay}
    if found.revision != revision or not names <= set(found.overlays) or len(names) > 1:
        raise StatementInvalid("The bundle is not the one that is live.", metadata={"bundle": revision})
    return Law(bundle=found, overlay=min(names, default=""))
