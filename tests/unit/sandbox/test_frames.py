"""The parser of frames: any bytes parse, or raise one error; well-formed frames come through however they are cut."""

import json
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import frames, launcher


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BI", kind, len(payload)) + payload


def result(name: str, data: bytes) -> bytes:
    head = frame(19, json.dumps({"name": name, "size": len(data)}).encode())
    chunks = [frame(20, data[i : i + frames.chunk_bytes]) for i in range(0, len(data), frames.chunk_bytes)]
    return head + b"".join(chunks) + frame(21, b"")


plausible = st.one_of(
    st.binary(max_size=64),
    st.builds(frame, st.integers(0, 255), st.binary(max_size=32)),
    st.builds(frame, st.sampled_from([17, 18, 20, 21]), st.binary(max_size=8)),
    st.builds(
        lambda d: frame(19, json.dumps(d).encode()), st.dictionaries(st.sampled_from(["name", "size"]), st.text())
    ),
    st.builds(lambda n, s: frame(19, json.dumps({"name": n, "size": s}).encode()), st.text(), st.integers()),
    st.builds(lambda c: frame(22, json.dumps({"code": c}).encode()), st.integers()),
    st.builds(result, st.sampled_from(["a", "b/c", "../d"]), st.binary(max_size=16)),
)


@given(pieces=st.lists(plausible, max_size=8))
def test_any_bytes_parse_or_raise_the_one_error(pieces: list[bytes]) -> None:
    parser = frames.Parser()
    with suppress(frames.FramesInvalid):
        for piece in pieces:
            parser.feed(piece)


@given(data=st.data(), log=st.binary(min_size=1, max_size=200), content=st.binary(max_size=200))
def test_frames_come_through_however_they_are_cut(data: st.DataObject, log: bytes, content: bytes) -> None:
    stream = frame(17, log) + result("r", content) + frame(18, log) + frame(22, b'{"code":3}')
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    parser, events = frames.Parser(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += parser.feed(stream[begin:end])
    chunks = [frames.ResultChunk(data=content)] if content else []
    assert events == [
        frames.Output(stream="stdout", data=log),
        frames.ResultBegin(name="r", size=len(content)),
        *chunks,
        frames.ResultEnd(),
        frames.Output(stream="stderr", data=log),
        frames.Exit(code=3),
    ]
    assert parser.complete


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (frame(16, b""), "an unknown type"),
        (frame(1, b"{}"), "a type of the other direction"),
        (struct.pack(">BI", 17, frames.frame_bytes_max + 1), "a length beyond the bound"),
        (frame(17, b""), "empty output"),
        (frame(20, b"x"), "a chunk of no result"),
        (frame(21, b""), "an end of no result"),
        (frame(19, b'{"name":"a","size":1}') * 2, "a result within a result"),
        (frame(19, b'{"name":"a","size":2}') + frame(20, b"x"), "a chunk that is not full"),
        (frame(19, b'{"name":"a","size":1}') + frame(20, b"xy"), "a chunk that is too long"),
        (frame(19, b'{"name":"a","size":1}') + frame(21, b""), "an end that is too early"),
        (frame(19, b'{"name":"a","size":1}') + frame(22, b'{"code":0}'), "an exit within a result"),
        (frame(19, b'{"name":"a","size":-1}'), "a negative size"),
        (frame(19, b'{"name":"\\ud800","size":1}'), "half a surrogate"),
        (frame(22, b'{"code":256}'), "a code beyond a byte"),
        (frame(22, b'{"code":0}') + frame(17, b"x"), "a frame after the end"),
        (frame(22, b'{"code":0}') + b"x", "a byte after the end"),
    ],
)
def test_what_the_launcher_never_writes_is_refused(stream: bytes, why: str) -> None:
    with pytest.raises(frames.FramesInvalid):
        frames.Parser().feed(stream)


def test_a_stream_without_its_exit_is_not_complete() -> None:
    parser = frames.Parser()
    parser.feed(frame(17, b"x"))
    assert not parser.complete
    parser.feed(frame(22, b'{"code":0}'))
    assert parser.complete


def test_an_object_is_cut_into_frames_that_the_launcher_takes() -> None:
    data = b"x" * (2 * frames.chunk_bytes + 1)
    made = list(frames.chunk(7, data))
    assert [len(f) - 9 for f in made] == [frames.chunk_bytes, frames.chunk_bytes, 1]
    assert all(f[5:9] == (7).to_bytes(4, "big") and len(f) < launcher.FRAME_MAX for f in made)
    assert list(frames.chunk(7, b"")) == []


def test_both_sides_agree_on_every_number() -> None:
    assert (frames.chunk_bytes, frames.frame_bytes_max) == (launcher.CHUNK, launcher.FRAME_MAX)
    assert frame(launcher.END, b"") == frames.END
    assert frames.index(argv=["a"], environment={}, files=())[0] == launcher.INDEX
    assert next(frames.chunk(1, b"x"))[0] == launcher.OBJECT
    parser = frames.Parser()
    stream = frame(launcher.STDOUT, b"o") + frame(launcher.STDERR, b"e")
    stream += frame(launcher.RESULT_BEGIN, b'{"name":"a","size":1}')
    stream += frame(launcher.RESULT_CHUNK, b"x") + frame(launcher.RESULT_END, b"") + frame(launcher.EXIT, b'{"code":0}')
    assert len(parser.feed(stream)) == 6
