"""Release: one bundle, stamped and signed, as the archive that an OPA or this process loads.

- The stamp says which release is newer (`sequence`), when it was made and from when on it answers nothing. It stands in
  the manifest, so it is signed with the files.
- An archive holds rules, data, schemas, manifest and signature, and nothing else: from what was read the files are made
  anew, and must be the same. Schemas travel along, so that an old bundle is replayed under its own.
- `read` verifies the signature first. It does not judge the stamp: a release that has expired is still good for replay.

    data = release.pack(bundle, stamp=Stamp(...), key=key)
    found = release.read(data, keys)
    found.bundle.revision, found.stamp.sequence, found.keyid
"""

import json
from dataclasses import dataclass
from typing import Final

from carnet.core.document import Json, canonical, parse
from carnet.core.errors import FieldInvalid
from policy import archive
from policy.bundle import Bundle
from policy.schemas import Schemas
from policy.signing import SIGNATURES, Keys, PolicyKey, sign, structured_bytes_max, verify

MANIFEST: Final = ".manifest"
DATA: Final = "data.json"

_SCHEMA: Final = "schema/"
_QUESTIONS: Final = frozenset({"input", "decision", "verdicts"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Which release this is, when it was made, and when it ends. Times are ns since 1970 UTC."""

    sequence: int
    issued_ns: int
    expires_ns: int

    def __post_init__(self) -> None:
        if self.sequence < 1 or not 0 < self.issued_ns < self.expires_ns:
            raise FieldInvalid("a release must end after it begins", metadata={"field": "metadata.carnet"})

    def document(self) -> dict[str, Json]:
        """As it stands in the manifest's metadata."""
        return {"sequence": self.sequence, "issued_ns": self.issued_ns, "expires_ns": self.expires_ns}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A verified release. Its bundle expires as the stamp says."""

    bundle: Bundle
    stamp: Stamp
    keyid: str


def pack(bundle: Bundle, *, stamp: Stamp, key: PolicyKey) -> bytes:
    """The signed archive of a bundle. Raises `FieldInvalid` where it would not be read again."""
    files = _files(bundle, stamp)
    return archive.packed(files | {SIGNATURES: sign(files, key, issued_ns=stamp.issued_ns)})


def read(data: bytes, keys: Keys) -> Release:
    """The release in an archive. Raises `BundleUnsigned`, or `FieldInvalid` where it is no bundle; on any bytes."""
    files = archive.unpacked(data)
    keyid = verify(files, keys)
    del files[SIGNATURES]
    stamp = _stamp(files)
    bundle = Bundle.of(
        rules={name: text for name, text in files.items() if name.endswith(".rego")},
        tables=_tables(files),
        schemas=_schemas(files),
        expires_ns=stamp.expires_ns,
    )
    for name, table in bundle.tables.items():
        bundle.schemas.check(f"data/{name}", table)
    if _files(bundle, stamp) != files:
        raise FieldInvalid("the archive is not the bundle that it says", metadata={"field": "archive"})
    return Release(bundle=bundle, stamp=stamp, keyid=keyid)


def _files(bundle: Bundle, stamp: Stamp) -> dict[str, bytes]:
    manifest: Json = {**bundle.manifest(), "metadata": {"carnet": stamp.document()}}
    schemas = {f"{_SCHEMA}{name}.json": canonical(schema) for name, schema in bundle.schemas.documents.items()}
    return {**bundle.rules, **schemas, DATA: canonical(bundle.data()), MANIFEST: canonical(manifest)}


def _stamp(files: dict[str, bytes]) -> Stamp:
    metadata = parse(files.get(MANIFEST, b""), bytes_max=structured_bytes_max).document("metadata")
    found = metadata.document("carnet")
    return Stamp(
        sequence=found.integer("sequence"),
        issued_ns=found.integer("issued_ns"),
        expires_ns=found.integer("expires_ns"),
    )


def _tables(files: dict[str, bytes]) -> dict[str, dict[str, Json]]:
    data = files.get(DATA, b"")
    tables = parse(data, bytes_max=structured_bytes_max).document("carnet").document("tables")
    whole = json.loads(data)["carnet"]["tables"]
    found: dict[str, dict[str, Json]] = {}
    for name in tables.names():
        tables.document(name)
        if name != "revisions":
            found[name] = {part: value for part, value in whole[name].items() if part != "lists"}
    return found


def _schemas(files: dict[str, bytes]) -> Schemas:
    found: dict[str, dict[str, Json]] = {}
    for path, data in files.items():
        if path.startswith(_SCHEMA):
            parse(data, bytes_max=structured_bytes_max)
            found[path.removeprefix(_SCHEMA).removesuffix(".json")] = json.loads(data)
    if missing := _QUESTIONS - found.keys():
        raise FieldInvalid("a schema is missing", metadata={"field": f"archive.schema.{min(missing)}"})
    try:
        return Schemas.of(found)
    except ValueError as error:
        raise FieldInvalid("a schema is none", metadata={"field": "archive.schema"}) from error
