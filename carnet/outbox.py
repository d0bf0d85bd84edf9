"""A sealed job on the client's disk: sealed once, kept until the gateway has it, sent again byte for byte.

- Sealing again would give other bytes and another manifest digest, so what was sealed is stored before the trailer goes
  out, and a broken upload resends the same bytes.
- The folder holds ciphertext, wraps and signed metadata only: no plaintext, no root, no key.
- The root lives in a bytearray for the time of the call and is wiped.

    sealed = seal(work, prepared, recipients, keys=keys, directory=outbox, now_ns=now)
    async for segment in sealed.segments(): ...
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from carnet import statements
from carnet.core import limits
from carnet.core.decision import DecisionBody
from carnet.core.document import Json, canonical
from carnet.core.envelope import SegmentSealer, result_key, root_commit, self_wrap, wipe, wrap_root
from carnet.core.errors import CallerError, FieldInvalid
from carnet.core.facts import JobFacts
from carnet.core.hybrid import HybridPublicKey
from carnet.core.job import SUITE, VERSION, LogMode, Manifest, Mode, Recipient, SealedObject
from carnet.core.runner import Isolation
from carnet.core.statement import Signed, Signer
from carnet.verdict import Decided
from carnet.vetting import VettedRunner

_read_bytes: Final = limits.MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkFile:
    """A file of the job: its name inside, and where its bytes come from."""

    name: str
    source: Path | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What to run: the client's facts, the command, its environment, and its files.

    In mode RAW there is exactly one file, the stdin of the image's own command, and `command` is public.
    """

    facts: bytes
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[WorkFile, ...] = ()
    mode: Mode = Mode.FRAMED
    log_mode: LogMode = LogMode.SEALED

    def __post_init__(self) -> None:
        if self.mode is Mode.RAW and (len(self.files) != 1 or self.environment):
            raise FieldInvalid("A raw job has one file, its stdin, and no environment of its own.")
        if len(self.files) >= limits.objects_max or len({f.name for f in self.files}) != len(self.files):
            raise FieldInvalid("The files of a job must be few enough, and differ in name.")
        if self.mode is Mode.FRAMED and not self.command:
            raise FieldInvalid("A framed job needs a command.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantKeys:
    """What makes a client a client of its tenant. `master` opens every result of the tenant: 32 bytes."""

    tenant_id: bytes
    signer: Signer
    key_set: Signed
    master: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedJob:
    """A job that only its recipients can open, ready to be sent."""

    directory: Path
    facts: JobFacts
    decided: Decided
    manifest: Manifest
    signed: Signed
    key_set: Signed
    wraps: tuple[bytes, ...]
    self_wrap: bytes

    def segments(self) -> Iterator[tuple[int, int, Path]]:
        """Object, segment and file of each ciphertext, in the order of sending."""
        for item in self.manifest.objects:
            for index in range(len(item.segment_digests)):
                yield item.id, index, _segment_path(self.directory, item.id, index)

    def discard(self) -> None:
        """Remove what was stored, once the gateway has it."""
        for path in self.directory.iterdir():
            path.unlink()
        self.directory.rmdir()


def seal(
    work: Work,
    decided: Decided,
    runners: tuple[VettedRunner, ...],
    *,
    keys: TenantKeys,
    facts: JobFacts,
    template_digest: bytes,
    directory: Path,
    now_ns: int,
) -> SealedJob:
    """Seal a job for these runners, which the caller has vetted. Blocks: call it in a thread.

    For nobody, where the job must be approved first: its root is then in the self-wrap alone.
    """
    job_id = secrets.token_bytes(16)
    folder = directory / job_id.hex()
    folder.mkdir(parents=True, mode=0o700)
    root = bytearray(secrets.token_bytes(32))
    try:
        objects = _seal_objects(work, root, job_id=job_id, folder=folder)
        result_public = result_key(keys.master, job_id).public
        unsigned = _manifest(
            work,
            decided,
            runners,
            facts=facts,
            job_id=job_id,
            tenant_id=keys.tenant_id,
            objects=objects,
            commit=root_commit(root, job_id),
            result_public=result_public,
            template_digest=template_digest,
            now_ns=now_ns,
        )
        manifest, signed = statements.MANIFEST.sign(unsigned, keys.signer)
        return SealedJob(
            directory=folder,
            facts=facts,
            decided=decided,
            manifest=manifest,
            signed=signed,
            key_set=keys.key_set,
            wraps=tuple(
                _wrap(root, manifest, r, runner) for r, runner in zip(manifest.recipients, runners, strict=True)
            ),
            self_wrap=self_wrap(HybridPublicKey(result_public), root, manifest_digest=manifest.digest),
        )
    finally:
        wipe(root)


def allowed_places(body: DecisionBody, facts: JobFacts, runners: tuple[VettedRunner, ...]) -> tuple[str, ...]:
    """The manifest's jurisdictions: what decision and client's own list allow, with the runners' regions."""
    only, never = set(facts.constraints.only), set(facts.constraints.never)
    permitted = {place for place in body.permitted if not only or {place, place[:2]} & only}
    permitted = {place for place in permitted if not {place, place[:2]} & never}
    return tuple(sorted(permitted | {runner.jurisdiction for runner in runners}))


def _seal_objects(work: Work, root: bytearray, *, job_id: bytes, folder: Path) -> tuple[SealedObject, ...]:
    sizes = [len(f.source) if isinstance(f.source, bytes) else f.source.stat().st_size for f in work.files]
    files: list[Json] = [
        {"id": i, "name": f.name, "size": size}
        for i, (f, size) in enumerate(zip(work.files, sizes, strict=True), start=1)
    ]
    index = canonical({
        "argv": list(work.command) if work.mode is Mode.FRAMED else [],
        "environment": dict(work.environment),
        "files": files,
    })  # fmt: skip
    if len(index) > limits.index_bytes_max:
        raise FieldInvalid("The index of names, arguments and environment is too large.")
    sources = [WorkFile(name="", source=index), *work.files]
    return tuple(
        _seal_object(root, source, size, job_id=job_id, object_id=i, folder=folder)
        for i, (source, size) in enumerate(zip(sources, [len(index), *sizes], strict=True))
    )


def _seal_object(
    root: bytearray, file: WorkFile, size: int, *, job_id: bytes, object_id: int, folder: Path
) -> SealedObject:
    reader = _Reader(file.source)
    count = max(1, -(-size // limits.segment_bytes))
    digests = []
    try:
        for index in range(count):
            sealer = SegmentSealer(root, job_id=job_id, object_id=object_id, index=index, last=index == count - 1)
            want = min(limits.segment_bytes, size - index * limits.segment_bytes)
            with _segment_path(folder, object_id, index).open("xb") as out:
                for chunk in reader.take(want):
                    out.write(sealer.update(chunk))
                out.write(sealer.finish())
            digests.append(sealer.digest)
    finally:
        reader.close()
    return SealedObject(id=object_id, size=size, segment_digests=tuple(digests))


class _Reader:
    """Takes exact numbers of bytes out of a file or a buffer; a source that changed its size is refused."""

    def __init__(self, source: Path | bytes) -> None:
        self._file = source.open("rb") if isinstance(source, Path) else None
        self._rest = memoryview(b"" if isinstance(source, Path) else source)

    def take(self, size: int) -> Iterator[bytes | memoryview]:
        while size:
            chunk: bytes | memoryview
            if self._file is not None:
                chunk = self._file.read(min(_read_bytes, size))
            else:
                chunk, self._rest = self._rest[:_read_bytes], self._rest[_read_bytes:]
            if not chunk:
                raise CallerError("A file became shorter while it was sealed.")
            size -= len(chunk)
            yield chunk

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _manifest(
    work: Work,
    decided: Decided,
    runners: tuple[VettedRunner, ...],
    *,
    facts: JobFacts,
    job_id: bytes,
    tenant_id: bytes,
    objects: tuple[SealedObject, ...],
    commit: bytes,
    result_public: bytes,
    template_digest: bytes,
    now_ns: int,
) -> Manifest:
    latest_ns = now_ns + limits.manifest_seconds_max * 10**9
    return Manifest(
        payload=b"",
        version=VERSION,
        suite=SUITE,
        job_id=job_id,
        tenant_id=tenant_id,
        nonce=secrets.token_bytes(16),
        created_ns=now_ns,
        not_after_ns=min([latest_ns, *(runner.key.open_until_ns for runner in runners)]),
        facts_digest=facts.digest,
        decision_digest=decided.record.digest,
        image=facts.image,
        mode=work.mode,
        command=work.command if work.mode is Mode.RAW else (),
        resources=facts.resources,
        seconds_max=facts.caps.seconds,
        isolation_min=Isolation(facts.constraints.isolation_min),
        template_digest=template_digest,
        allowed_jurisdictions=allowed_places(decided.body, facts, runners),
        recipients=tuple(
            Recipient(
                spiffe_id=runner.spiffe_id,
                jurisdiction=runner.jurisdiction,
                kid=runner.key.kid,
                key_statement_digest=runner.key.digest,
            )
            for runner in runners
        ),
        objects=objects,
        root_commit=commit,
        result_public=result_public,
        attempts_max=facts.caps.attempts,
        log_mode=work.log_mode,
    )


def _wrap(root: bytearray, manifest: Manifest, recipient: Recipient, runner: VettedRunner) -> bytes:
    return wrap_root(
        HybridPublicKey(runner.key.public),
        root,
        manifest_digest=manifest.digest,
        spiffe_id=recipient.spiffe_id,
        jurisdiction=recipient.jurisdiction,
        kid=recipient.kid,
    )


def _segment_path(folder: Path, object_id: int, index: int) -> Path:
    return folder / f"object-{object_id}-{index}"
