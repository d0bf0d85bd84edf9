"""Page tokens: where a list ended, authenticated, so that a caller can only hand back what was given out.

token = pages.token(place, tenant_id)
place = pages.place(token, tenant_id, size=24)      # raises PageTokenInvalid
"""

import base64
import hmac
from typing import Final

from carnet.core.encoding import ctx
from carnet.core.errors import PageTokenInvalid

_tag_bytes: Final = 16


class PageTokens:
    """The tokens of one gateway, under its page key of 32 bytes. Lists differ in how long their places are."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token(self, place: bytes, tenant_id: bytes) -> str:
        """The token for a place in one of a tenant's lists."""
        return base64.urlsafe_b64encode(place + self._tag(place, tenant_id)).decode()

    def place(self, token: str, tenant_id: bytes, *, size: int) -> bytes:
        """The place, `size` bytes. Raises `PageTokenInvalid` for a token of another tenant, list or gateway."""
        try:
            data = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        except ValueError:
            raise PageTokenInvalid from None
        place, tag = data[:size], data[size:]
        if len(place) != size or not hmac.compare_digest(tag, self._tag(place, tenant_id)):
            raise PageTokenInvalid
        return place

    def _tag(self, place: bytes, tenant_id: bytes) -> bytes:
        return hmac.digest(self._key, ctx("page token", tenant_id, place), "sha256")[:_tag_bytes]
