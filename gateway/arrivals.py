"""Arrivals: a receipt held against what its runner really sent, and against the attempt that it was granted.

- The log is there to its final record, and as long as the receipt says.
- Every result segment that arrived is named by its digest, in order, and none that is named is missing.
- Attempt, dispatch decision and place are those of the grant, whatever else the manifest would allow.
"""

from carnet.core.errors import StatementInvalid
from carnet.core.receipt import Receipt, Start
from gateway.storage.records import StoredAttempt
from gateway.storage.segments import Segment


def check_arrived(
    receipt: Receipt, attempt: StoredAttempt, start: Start, segments: tuple[Segment, ...], *, log_ended: bool
) -> None:
    """Raise `StatementInvalid` unless all that the receipt names arrived, and nothing else."""
    if not log_ended or receipt.log_records != attempt.log_next:
        raise StatementInvalid("The log is not complete.", metadata={"field": "log"})
    arrived = [(segment.object_id, segment.index, segment.digest) for segment in segments]
    named = [(item.id, index, digest) for item in receipt.results for index, digest in enumerate(item.segment_digests)]
    if arrived != named:
        raise StatementInvalid("The results are not those that the receipt names.", metadata={"field": "results"})
    expected: dict[str, tuple[object, object]] = {
        "start": (receipt.start_digest, start.digest),
        "attempt": (receipt.attempt, attempt.attempt),
        "record": (receipt.record_digest, attempt.decision_digest),
        "jurisdiction": (receipt.jurisdiction, attempt.jurisdiction),
    }
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise StatementInvalid(f"The receipt's {name} is another.", metadata={"field": name})
