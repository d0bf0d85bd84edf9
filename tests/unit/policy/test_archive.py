"""Archives have one form, are bounded, and hold plain files alone; anything else is refused with its name."""

import contextlib
import gzip
import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.core.errors import FieldInvalid
from policy import archive

FILES = {"data.json": b"{}", ".manifest": b"{}", "carnet/main/main.rego": b"package carnet.main\n", "empty": b""}


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w", format=form) as tar:
        for info, data in entries:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return found.getvalue()


def entry(name: str = "data.json", **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def test_files_come_back_as_they_went_in_and_bytes_are_the_same_each_time() -> None:
    data = archive.packed(FILES)
    assert archive.unpacked(data) == FILES
    assert archive.packed(dict(reversed(FILES.items()))) == data
    assert archive.unpacked(archive.packed({})) == {}


def test_any_tar_reads_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive.packed(FILES)), mode="r:gz") as tar:
        assert tar.getnames() == sorted(FILES)
        assert all(member.isreg() and not member.mtime for member in tar.getmembers())


def plain() -> bytes:
    return tar_of((entry(), b"{}"))


HOSTILE: dict[str, bytes] = {
    "a link": tar_of((entry(type=tarfile.SYMTYPE, linkname="/etc/passwd"), b"")),
    "a hard link": tar_of((entry(type=tarfile.LNKTYPE, linkname="data.json"), b"")),
    "a folder": tar_of((entry("carnet", type=tarfile.DIRTYPE), b"")),
    "a device": tar_of((entry(type=tarfile.CHRTYPE), b"")),
    "an absolute path": tar_of((entry("/data.json"), b"{}")),
    "a way up": tar_of((entry("../data.json"), b"{}")),
    "a way up inside": tar_of((entry("carnet/../data.json"), b"{}")),
    "a dot": tar_of((entry("./data.json"), b"{}")),
    "an empty part": tar_of((entry("carnet//data.json"), b"{}")),
    "a backslash": tar_of((entry("carnet\\data.json"), b"{}")),
    "a letter of another alphabet": tar_of((entry("d\u0430ta.json"), b"{}")),
    "no name": tar_of((entry(""), b"{}")),
    "a name twice": tar_of((entry(), b"{}"), (entry(), b"{}")),
    "another order": tar_of((entry("b"), b""), (entry("a"), b"")),
    "a time": tar_of((entry(mtime=1), b"{}")),
    "an owner": tar_of((entry(uid=1), b"{}")),
    "a name in two fields": tar_of((entry("a" * 90 + "/" + "b" * 60), b"{}")),
    "a long name": tar_of((entry("a" * 150), b"{}"), form=tarfile.GNU_FORMAT),
    "extended headers": tar_of((entry(pax_headers={"comment": "x"}), b"{}"), form=tarfile.PAX_FORMAT),
    "a sparse file": tar_of((entry(type=tarfile.GNUTYPE_SPARSE), b"{}")),
    "something behind the end": plain() + plain(),
    "a block behind the end": plain() + b"\0" * 512,
    "nothing": b"",
    "no end": plain()[:1024],
    "half a file": plain()[:700],
    "half a header": plain()[:300],
    "a size that is none": plain()[:124] + b"-0000000001\0" + plain()[136:],
    "a size beyond the file": plain()[:124] + b"77777777777\0" + plain()[136:],
    "another sum": plain()[:148] + b"000000\0 " + plain()[156:],
    "something in the padding": plain()[:520] + b"x" + plain()[521:],
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_an_archive_that_is_not_in_the_one_form_is_refused(name: str) -> None:
    assert archive.unpacked(gzip.compress(plain())) == {"data.json": b"{}"}, "the control"
    with pytest.raises(FieldInvalid) as caught:
        archive.unpacked(gzip.compress(HOSTILE[name]))
    assert caught.value.metadata["field"].startswith("archive")


def test_what_is_no_single_gzip_stream_is_refused() -> None:
    data = archive.packed(FILES)
    for wrong in (b"", data[:-1], data + b"x", data + data, plain(), b"PK\3\4", data[:20] + b"\0" * 20 + data[40:]):
        with pytest.raises(FieldInvalid):
            archive.unpacked(wrong)


def test_a_small_file_that_unfolds_without_end_is_refused_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(bytes(archive.unpacked_bytes_max + 1))
    assert len(bomb) < 100_000
    with pytest.raises(FieldInvalid, match="unfold"):
        archive.unpacked(bomb)
    monkeypatch.setattr(archive, "archive_bytes_max", 100)
    with pytest.raises(FieldInvalid, match="at most 100 bytes"):
        archive.unpacked(archive.packed({}) + bytes(100))


def test_too_many_files_are_refused_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    data = archive.packed(FILES)
    monkeypatch.setattr(archive, "files_max", len(FILES) - 1)
    for wrong in (lambda: archive.unpacked(data), lambda: archive.packed(FILES)):
        with pytest.raises(FieldInvalid):
            wrong()


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/..", ".", "a b", "a\n", "a" * 101])
def test_what_would_not_be_read_again_is_not_packed(name: str) -> None:
    with pytest.raises(FieldInvalid):
        archive.packed({name: b""})


@given(st.binary(max_size=2000), st.booleans())
def test_any_bytes_are_an_archive_or_refused(data: bytes, zipped: bool) -> None:
    files_or_refused(lambda: archive.unpacked(gzip.compress(data) if zipped else data))


@given(st.integers(0, 5000), st.integers(0, 255))
def test_one_byte_of_an_archive_changed_gives_other_files_or_none(at: int, value: int) -> None:
    tar = bytearray(gzip.decompress(archive.packed(FILES)))
    tar[at % len(tar)] = value
    files_or_refused(lambda: archive.unpacked(gzip.compress(bytes(tar))))


def files_or_refused(read: Callable[[], dict[str, bytes]]) -> None:
    with contextlib.suppress(FieldInvalid):
        assert archive.unpacked(archive.packed(files := read())) == files
