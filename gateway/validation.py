"""The field rules of the protos, held on every message that comes in (protovalidate)."""

import protovalidate
from google.protobuf.message import Message

from carnet.core.errors import FieldInvalid

_validator = protovalidate.Validator()


def check(message: Message) -> None:
    """Raise `FieldInvalid` with the first field's path. Texts are the rules' own; values are never repeated."""
    violations = _validator.collect_violations(message)
    if violations:
        first = violations[0].proto
        elements = first.field.elements if first.field is not None else ()
        path = ".".join(element.field_name for element in elements) or "request"
        raise FieldInvalid(f"{path}: {first.message}", metadata={"field": path, "rule": first.rule_id})
