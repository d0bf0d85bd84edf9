"""Log record: a piece of a job's output, sealed at the runner while the job runs.

- Each record is one Cobblestone-256 message under the log key of the attempt, bound to manifest, grant, stream,
  sequence and whether it is the final one: none can be moved, doubled, dropped from the middle or taken from another
  attempt without the reader's own count showing it.
- One sequence runs over both streams. Stream 1 is stdout, 2 is stderr; the final record is stream 0, and only it.
- The reader counts: it asks for the sequence that it expects next, and ends at the final record that the receipt names.

    ciphertext = seal_log(result_root, b"epoch 1\\n", manifest_digest=md, grant_digest=grant, stream=1, sequence=0,
                          final=False)
"""

from typing import Final

from carnet.core import limits
from carnet.core.encoding import ctx
from carnet.core.errors import Bug, EnvelopeUnopened
from carnet.core.root import derive
from carnet.core.segment import Data, Opener, Root, Sealer

FINAL: Final = 0
STDOUT: Final = 1
STDERR: Final = 2

_sequence_max: Final = 2**64 - 1


def seal_log(
    result_root: Root,
    data: Data,
    *,
    manifest_digest: bytes,
    grant_digest: bytes,
    stream: int,
    sequence: int,
    final: bool,
) -> bytes:
    """Seal at most 64 KiB of output. Raises `EnvelopeMalformed` for more, `Bug` for a stream that is none."""
    if not _known(stream, sequence, final):
        raise Bug(detail="a log record has an unknown stream, a sequence beyond 64 bits, or a misplaced final flag")
    context = _context(manifest_digest, grant_digest, stream, sequence, final)
    key = derive(result_root, ctx("log key", manifest_digest))
    sealer = Sealer(key, context, bytes_max=limits.log_record_bytes_max)
    return sealer.update(data) + sealer.finish()


def open_log(
    result_root: Root,
    record: Data,
    *,
    manifest_digest: bytes,
    grant_digest: bytes,
    stream: int,
    sequence: int,
    final: bool,
) -> bytes:
    """The output of one record. Every failure is the one `EnvelopeUnopened`."""
    if not _known(stream, sequence, final):
        raise EnvelopeUnopened
    context = _context(manifest_digest, grant_digest, stream, sequence, final)
    key = derive(result_root, ctx("log key", manifest_digest))
    opener = Opener(key, context, bytes_max=limits.log_record_bytes_max)
    return opener.update(record) + opener.finish()


def _known(stream: int, sequence: int, final: bool) -> bool:
    return stream in (FINAL, STDOUT, STDERR) and final == (stream == FINAL) and 0 <= sequence <= _sequence_max


def _context(manifest_digest: bytes, grant_digest: bytes, stream: int, sequence: int, final: bool) -> bytes:
    return ctx("log", manifest_digest, grant_digest, stream.to_bytes(1), sequence.to_bytes(8), final.to_bytes(1))
