"""`carnet policy key`, `release` and `verify`: the rules as a signed file, made away from the gateway that runs them.

carnet policy key officers.key.pem --public officers.pem                   # once; prints the keyid
carnet policy release bundle.tar.gz --key officers.key.pem --days 90       # for `[policy] bundle` of a gateway
carnet policy verify bundle.tar.gz --public officers.pem                   # what it is, if that key signed it
"""

import datetime
import os
import stat
from pathlib import Path
from typing import Final

from carnet.core.document import Json
from carnet.core.errors import CredentialInvalid, FieldInvalid
from policy import gate, release
from policy.bundle import Bundle
from policy.commands.common import moment, print_json, read, telling
from policy.signing import PolicyKey, keyid_of, public_key

days_max: Final = 366

_DAY_NS: Final = 86_400 * 10**9


def make_key(file: Path, *, public: Path) -> None:
    """Make a key to sign bundles with, or take the one that is there; print its keyid.

    Parameters
    ----------
    file: the private key; it stays where it is
    public: where its public half is written, for gateways (`[policy.keys]`)
    """
    with telling():
        if not file.exists():
            _write(file, PolicyKey.generate().to_pem(), mode=0o600)
        key = _key(file)
        _write(public, key.public_pem(), mode=0o644)
        print_json({"keyid": key.keyid})


def make_release(file: Path, *, key: Path, days: int = 90, sequence: int | None = None, at: str | None = None) -> None:
    """Write our rules as a signed bundle, which a gateway runs and an OPA verifies; print what it is.

    Parameters
    ----------
    file: the archive, which is replaced
    key: the private key
    days: for how long a gateway answers from it
    sequence: a gateway refuses lower ones than it has seen; the time in seconds, if not given
    at: when it is issued; now, if not given
    """
    with telling():
        if not 1 <= days <= days_max:
            raise FieldInvalid(f"days must be from 1 to {days_max}", metadata={"field": "days"})
        now_ns, bundle, signing = moment(at), Bundle.load(), _key(key)
        gate.check(bundle.rules)
        number = now_ns // 10**9 if sequence is None else sequence
        stamp = release.Stamp(sequence=number, issued_ns=now_ns, expires_ns=now_ns + days * _DAY_NS)
        data = release.pack(bundle, stamp=stamp, key=signing)
        release.read(data, {signing.keyid: signing.public})
        _write(file, data, mode=0o644)
        print_json(_said(bundle.revision, stamp, signing.keyid))


def verify_release(file: Path, *, public: Path) -> None:
    """Verify a bundle under a public key, and print what it is. Whether it has expired is not judged.

    Parameters
    ----------
    file: the archive
    public: the key that must have signed it
    """
    with telling():
        key = public_key(read(public))
        found = release.read(read(file), {keyid_of(key): key})
        print_json(_said(found.bundle.revision, found.stamp, found.keyid))


def _said(revision: str, stamp: release.Stamp, keyid: str) -> dict[str, Json]:
    expires = datetime.datetime.fromtimestamp(stamp.expires_ns // 10**9, datetime.UTC)
    return {
        "revision": revision,
        "sequence": stamp.sequence,
        "expires": expires.isoformat().replace("+00:00", "Z"),
        "keyid": keyid,
    }


def _key(path: Path) -> PolicyKey:
    data = read(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise CredentialInvalid(f"{path} may be read by others; make it 0600.")
    return PolicyKey.from_pem(data)


def _write(path: Path, data: bytes, *, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise FieldInvalid(f"{path} can not be written: {error.strerror}", metadata={"field": str(path)}) from error
