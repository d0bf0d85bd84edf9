"""The engine's stream: taken apart however it is cut, and shut down for good."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.core.errors import SandboxUnavailable
from sandbox.attachment import Attachment, Demultiplexer


def piece(number: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", number, len(data)) + data


@given(data=st.data(), pieces=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)), max_size=10))
def test_streams_come_apart_however_they_are_cut(data: st.DataObject, pieces: list[tuple[int, bytes]]) -> None:
    stream = b"".join(piece(n, d) for n, d in pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    demultiplexer, found = Demultiplexer(), {"stdout": b"", "stderr": b""}
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        for name, part in demultiplexer.feed(stream[begin:end]):
            found[name] += part
    assert found["stdout"] == b"".join(d for n, d in pieces if n == 1)
    assert found["stderr"] == b"".join(d for n, d in pieces if n == 2)


@given(data=st.binary(max_size=300))
def test_any_bytes_come_apart_or_raise_the_one_error(data: bytes) -> None:
    try:
        assert sum(len(part) for _, part in Demultiplexer().feed(data)) <= len(data)
    except SandboxUnavailable:
        assert any(byte not in (1, 2) for byte in data)


def test_a_piece_of_any_claimed_length_is_passed_on_as_it_comes() -> None:
    demultiplexer = Demultiplexer()
    head = struct.pack(">BxxxI", 1, 2**32 - 1)
    assert list(demultiplexer.feed(head + b"x" * 100)) == [("stdout", b"x" * 100)]
    assert list(demultiplexer.feed(b"y")) == [("stdout", b"y")]


async def _payload() -> AsyncIterator[bytes]:
    for _ in range(64):
        yield b"x" * 65536


async def test_a_reader_that_went_away_is_no_error() -> None:
    ours, theirs = socket.socketpair()
    attachment = Attachment(ours, release=ours.close)
    theirs.close()
    await asyncio.wait_for(attachment.write(_payload()), 5)
    attachment.sever()


async def test_the_end_of_the_payload_closes_one_direction_only() -> None:
    ours, theirs = socket.socketpair()
    attachment = Attachment(ours, release=ours.close)
    writing = asyncio.create_task(attachment.write(_payload()))
    received = await asyncio.to_thread(lambda: sum(len(d) for d in iter(lambda: theirs.recv(2**20), b"")))
    await writing
    assert received == 64 * 65536
    theirs.sendall(piece(2, b"still here"))
    theirs.close()
    assert [part async for part in attachment.output()] == [("stderr", b"still here")]
    attachment.sever()


async def test_to_sever_is_to_shut_down_even_where_a_duplicate_is_left() -> None:
    ours, theirs = socket.socketpair()
    duplicate = ours.dup()
    attachment = Attachment(ours, release=ours.close)
    attachment.sever()
    attachment.sever()
    theirs.settimeout(5)
    assert theirs.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        theirs.sendall(b"x")
    duplicate.close()
    theirs.close()
