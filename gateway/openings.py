"""Openings: decisions that were verified before, by the digest of the very bytes. One decision serves many jobs.

- What is kept is what the bytes say: the signature held and the bodies parsed. Whatever depends on time, tenant or
  caller is asked of it again for each job.
- The key covers facts, record, signature, key id and body, each with its length: one byte of difference is another
  entry. What was refused is not kept.
- At most `entries_max` of them; the one that was not used for longest goes first. Pins do not change in a process.

    opened = openings.of(header)
    check_record(opened.decided.record, opened.decided.body, facts_digest=opened.facts.digest, now_ns=now)
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from carnet.core.facts import JobFacts, parse_facts
from carnet.pins import GatewayPins
from carnet.v1 import jobs_pb2 as pb
from carnet.verdict import Decided, open_decision

entries_max: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Facts and the decision about them, verified."""

    facts: JobFacts
    decided: Decided


class Openings:
    """The verified decisions of one gateway process."""

    def __init__(self, pins: GatewayPins) -> None:
        self._pins = pins
        self._kept: OrderedDict[bytes, Opened] = OrderedDict()

    def of(self, header: pb.SubmitJobRequest.Header) -> Opened:
        """What a header says. Raises `FieldInvalid`, `EnvelopeMalformed` or a `PeerError`."""
        name = _name(header)
        found = self._kept.get(name)
        if found is None:
            found = self._kept[name] = self._open(header)
            while len(self._kept) > entries_max:
                self._kept.popitem(last=False)
        self._kept.move_to_end(name)
        return found

    def _open(self, header: pb.SubmitJobRequest.Header) -> Opened:
        facts = parse_facts(header.facts)
        decided = open_decision(pb.Decision(record=header.decision, body=header.body), pins=self._pins)
        return Opened(facts=facts, decided=decided)


def _name(header: pb.SubmitJobRequest.Header) -> bytes:
    record, digest = header.decision, hashlib.sha256()
    for part in (header.facts, record.payload, record.signature, record.keyid, header.body):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()
