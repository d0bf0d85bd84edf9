"""Overlay: an organisation's own rules, known by the digest of their files. It is what people approve and activate.

The digest is over the overlay's name and each path with the SHA-256 of its bytes, so no file can be taken for another.
"""

import hashlib
from collections.abc import Mapping

from carnet.core.document import Json, canonical


def overlay_digest(overlay: str, files: Mapping[str, bytes]) -> bytes:
    """SHA-256 over the canonical listing `carnet.overlay/v1`, 32 bytes."""
    listed: Json = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    return hashlib.sha256(canonical({"schema": "carnet.overlay/v1", "overlay": overlay, "files": listed})).digest()
