"""Who a client is and whom it trusts: one small JSON file, naming files. Keys stay in files; none is in the context.

    {"gateway": "127.0.0.1:7443", "pins": "pins.json", "certificate": "client.pem", "key": "client.key.pem",
     "signing_key": "signing.key.pem", "key_set": "key-set.stmt", "master_key": "master.key", "token": "token.jwt",
     "tenant_id": "00112233445566778899aabbccddeeff", "template_digest": "…64 hex digits…", "outbox": "outbox"}

Relative paths are relative to the context file. The token file is read anew for each call: something else renews it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from carnet.core.document import parse
from carnet.core.errors import FieldInvalid, TokenInvalid
from carnet.core.statement import Signer
from carnet.outbox import TenantKeys
from carnet.pins import Pins, load_pins
from carnet.tls import read_private_key, read_secret
from carnet.wire import signed_from_bytes

context_bytes_max: Final = 16 * 1024
master_bytes: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A client's address, pins and files."""

    gateway: str
    pins: Pins
    certificate: Path
    key: Path
    token: Path
    signing_key: Path
    key_set: Path
    master_key: Path
    tenant_id: bytes
    template_digest: bytes
    outbox: Path

    def keys(self) -> TenantKeys:
        """Read the tenant's keys. Raises `CredentialInvalid` where a private file is open to others."""
        return TenantKeys(
            tenant_id=self.tenant_id,
            signer=Signer.from_pem(read_private_key(self.signing_key)),
            key_set=signed_from_bytes(self.key_set.read_bytes()),
            master=read_secret(self.master_key, bytes_max=master_bytes),
        )

    def bearer(self) -> tuple[tuple[str, str], ...]:
        """The metadata of one call, with the token as it stands in its file now. Raises `TokenInvalid`."""
        try:
            token = self.token.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TokenInvalid(f"The token file {self.token} can not be read.") from error
        if not token or not token.isprintable():
            raise TokenInvalid(f"The token file {self.token} holds no token.")
        return (("authorization", "Bearer " + token),)


def load_context(path: Path) -> Context:
    """Read a context file. Raises `FieldInvalid` with the field's path."""
    try:
        document = parse(path.read_bytes(), bytes_max=context_bytes_max)
    except OSError as error:
        raise FieldInvalid(f"The context file {path} can not be read.") from error
    base = path.parent
    context = Context(
        gateway=document.text("gateway"),
        pins=_pins(base / document.text("pins", bytes_max=4096)),
        certificate=base / document.text("certificate", bytes_max=4096),
        key=base / document.text("key", bytes_max=4096),
        token=base / document.text("token", bytes_max=4096),
        signing_key=base / document.text("signing_key", bytes_max=4096),
        key_set=base / document.text("key_set", bytes_max=4096),
        master_key=base / document.text("master_key", bytes_max=4096),
        tenant_id=_hex("tenant_id", document.text("tenant_id"), 16),
        template_digest=_hex("template_digest", document.text("template_digest"), 32),
        outbox=base / document.text("outbox", bytes_max=4096),
    )
    document.close()
    return context


def _pins(path: Path) -> Pins:
    try:
        return load_pins(path)
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        raise FieldInvalid(f"The pins file {path} can not be read.", metadata={"field": "pins"}) from error


def _hex(name: str, text: str, size: int) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != size:
        raise FieldInvalid(f"{name} must be {2 * size} hex digits.", metadata={"field": name})
    return value
