"""The JSON Schemas of `policy/schema`: the contract with officers and with engines.

- What goes into an engine is checked before it is asked, what comes out before it is believed, data when it is loaded.
- `$ref` is not used, and refused, so nothing is ever fetched.

    Schemas.load(root).check("input", document)
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

from carnet.core.document import Json, canonical
from carnet.core.errors import FieldInvalid

_REFERENCES: Final = (b'"$ref":', b'"$dynamicRef":')


@dataclass(frozen=True, slots=True, kw_only=True)
class Schemas:
    """Compiled schemas by name: `input`, `decision`, `verdicts`, and `data/NAME` for each table."""

    documents: dict[str, dict[str, Any]]
    compiled: dict[str, jsonschema_rs.Draft202012Validator]

    @classmethod
    def load(cls, folder: Path) -> "Schemas":
        """Read every schema below a folder. Raises `ValueError` where one is none."""
        documents = {
            path.relative_to(folder).with_suffix("").as_posix(): json.loads(path.read_bytes())
            for path in sorted(folder.rglob("*.json"))
        }
        return cls.of(documents)

    @classmethod
    def of(cls, documents: dict[str, dict[str, Any]]) -> "Schemas":
        """Compile schemas that were read. Raises `ValueError` where one is none, or refers to another."""
        for schema in documents.values():
            if any(reference in canonical(schema) for reference in _REFERENCES):
                raise ValueError("a schema refers to another")
        compiled = {name: jsonschema_rs.Draft202012Validator(schema) for name, schema in documents.items()}
        return cls(documents=documents, compiled=compiled)

    def check(self, name: str, document: Json) -> None:
        """Raise `FieldInvalid` with the path of a fault, never with its value; also where no schema has the name."""
        validator = self.compiled.get(name)
        if validator is None:
            raise FieldInvalid(f"{name} has no schema", metadata={"field": name})
        fault = next(iter(validator.iter_errors(document)), None)
        if fault is not None:
            path = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault.instance_path)
            raise FieldInvalid(f"{path} is not as {name} must be", metadata={"field": path})
