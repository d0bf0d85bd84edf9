"""The files of an overlay, as they come in and as one row keeps them.

- A path stands once. What a draft is worth is for `policy/checking.py` to say.
"""

import base64
import json
from collections.abc import Iterable, Mapping

from carnet.core.document import canonical
from carnet.core.errors import FieldInvalid, StoreUnavailable
from carnet.v1 import policies_pb2 as pb


def files_of(messages: Iterable[pb.PolicyFile]) -> dict[str, bytes]:
    """Files by path. Raises `FieldInvalid` where one stands twice, or where there is no Rego."""
    found: dict[str, bytes] = {}
    for message in messages:
        if message.path in found:
            raise FieldInvalid(f"{message.path} stands there twice.", metadata={"field": "files"})
        found[message.path] = message.data
    if not any(path.endswith(".rego") for path in found):
        raise FieldInvalid("There is no Rego among the files.", metadata={"field": "files"})
    return found


def packed(files: Mapping[str, bytes]) -> bytes:
    """The files as one row keeps them."""
    return canonical({path: base64.b64encode(data).decode() for path, data in files.items()})


def unpacked(data: bytes) -> dict[str, bytes]:
    """Read what `packed` wrote. Raises `StoreUnavailable` on any other bytes."""
    try:
        return {path: base64.b64decode(text, validate=True) for path, text in json.loads(data).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise StoreUnavailable(detail="a row of policy_files is damaged") from error
