"""The constant program inside a framed cage: frames in, one job run, frames out.

- It is the container's whole command (`python3 -IS -c <this text>`); its digest is part of the profile template.
- Standard library only, Python 3.9 or newer. It holds no secret and trusts nothing that it reads.
- In: INDEX (JSON: argv, environment, files), OBJECT (uint32 id + bytes; many an object, in order), END.
- Out: STDOUT and STDERR as they come; after the job's end each regular file under /work/out, in name order, as
  RESULT_BEGIN, RESULT_CHUNK (all of `CHUNK` bytes but the last), RESULT_END; EXIT at the very end.
- A frame is uint8 type, uint32 big-endian length, payload.
- Exit code: the job's own; 128 + n after signal n; 125 when the launcher refuses, 126 or 127 when argv does not start.
- Names are relative and plain. Links, devices and pipes in /work/out are named on STDERR and not returned.
- Whatever the job leaves running is killed before results are read, so that nothing changes under the reader.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator

INDEX, OBJECT, END = 1, 2, 3
STDOUT, STDERR, RESULT_BEGIN, RESULT_CHUNK, RESULT_END, EXIT = 17, 18, 19, 20, 21, 22
CHUNK = 256 * 1024
FRAME_MAX = 1024 * 1024
FILES_MAX = 1024
NAME_MAX = 255
DEPTH_MAX = 16
WORK = "/work"
OUT = "out"
REFUSED = 125
UID_MIN = 10_000


class LauncherError(Exception):
    """What came in is not a job, or it does not fit."""


def read_exactly(fd: int, size: int) -> bytes:
    """Exactly `size` bytes. Raises LauncherError at an early end."""
    parts = []
    while size:
        part = os.read(fd, min(size, CHUNK))
        if not part:
            raise LauncherError("the input ended early")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_frame(fd: int) -> tuple[int, bytes]:
    """The next frame: its type and payload."""
    kind, size = struct.unpack(">BI", read_exactly(fd, 5))
    if size > FRAME_MAX:
        raise LauncherError("a frame is too large")
    return kind, read_exactly(fd, size)


def write_frame(fd: int, kind: int, payload: bytes) -> None:
    """One frame, whole."""
    data = memoryview(struct.pack(">BI", kind, len(payload)) + payload)
    while data:
        data = data[os.write(fd, data) :]


def plain_name(name: object) -> str:
    """The name itself, if it is a plain relative path."""
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name.encode("utf-8", "replace")) <= NAME_MAX:
        raise LauncherError("a file's name is not acceptable")
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or len(parts) > DEPTH_MAX or "\\" in name:
        raise LauncherError("a file's name is not acceptable")
    return name


class Index:
    """What the first frame says: argv, environment, and (id, name, size) of each file."""

    def __init__(self, payload: bytes) -> None:
        try:
            fields = json.loads(payload)
            self.argv = [str(a) for a in fields["argv"]]
            self.environment = {str(k): str(v) for k, v in fields["environment"].items()}
            self.files = [(int(f["id"]), plain_name(f["name"]), int(f["size"])) for f in fields["files"]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise LauncherError("the index is not readable") from error
        names = {name for _, name, _ in self.files}
        if not self.argv or len(names) != len(self.files) or len(self.files) > FILES_MAX:
            raise LauncherError("the index names no command, a file twice, or too many files")
        if any(name.split("/")[0] == OUT for name in names):
            raise LauncherError("a file would stand among the results")


def receive(fd: int, work: str) -> Index:
    """Read a whole job from `fd` and write its files below `work`."""
    kind, payload = read_frame(fd)
    if kind != INDEX:
        raise LauncherError("the first frame is not an index")
    index = Index(payload)
    for number, name, size in index.files:
        receive_file(fd, os.path.join(work, name), number, size)
    if read_frame(fd) != (END, b""):
        raise LauncherError("there is more than the index says")
    os.mkdir(os.path.join(work, OUT), 0o700)
    return index


def receive_file(fd: int, path: str, number: int, size: int) -> None:
    """The OBJECT frames of one file, `size` bytes in all. An empty file has no frame."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        while size:
            kind, payload = read_frame(fd)
            if kind != OBJECT or len(payload) < 5 or struct.unpack(">I", payload[:4])[0] != number:
                raise LauncherError("an object is out of order")
            data = memoryview(payload)[4:]
            size -= len(data)
            if size < 0:
                raise LauncherError("an object is longer than the index says")
            while data:
                data = data[os.write(target, data) :]
    finally:
        os.close(target)


def start(index: Index, work: str) -> subprocess.Popen[bytes]:
    """Start the job in `work`, with pipes of its own. Raises OSError or ValueError."""
    environment = {**os.environ, **index.environment, "HOME": work, "CARNET_OUTPUT": os.path.join(work, OUT)}
    return subprocess.Popen(  # noqa: S603  (running it is what a cage is for)
        index.argv,
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def relay(job: subprocess.Popen[bytes], out: int) -> int:
    """Pass the job's output on until it has ended, then what is left in the pipes. Returns its code."""
    waker, wakened = os.pipe()
    os.set_blocking(wakened, False)
    signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    assert job.stdout is not None
    assert job.stderr is not None
    with selectors.DefaultSelector() as selector:
        selector.register(waker, selectors.EVENT_READ, 0)
        selector.register(job.stdout, selectors.EVENT_READ, STDOUT)
        selector.register(job.stderr, selectors.EVENT_READ, STDERR)
        while job.poll() is None:
            relay_once(selector, out, timeout=1.0)
        kill_the_rest()
        while relay_once(selector, out, timeout=0.0):
            pass
    return job.returncode if job.returncode >= 0 else 128 - job.returncode


def relay_once(selector: selectors.BaseSelector, out: int, timeout: float) -> bool:
    """Pass on one chunk of each readable pipe; says whether there was any."""
    found = False
    for key, _ in selector.select(timeout):
        data = os.read(key.fd, CHUNK)
        if not data:
            selector.unregister(key.fileobj)
        elif key.data:
            write_frame(out, key.data, data)
            found = True
    return found


def kill_the_rest() -> None:
    """Kill every process of the cage but its init and this one: no other process has a cage's uid."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return


def results(folder: int, out: int, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    """Each regular file below `folder`, in name order: its relative name and an open descriptor (yours to close)."""
    for name in sorted(os.listdir(folder)):
        path = prefix + name
        try:
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode) and depth < DEPTH_MAX:
                child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                try:
                    yield from results(child, out, path + "/", depth + 1)
                finally:
                    os.close(child)
            elif stat.S_ISREG(mode):
                plain_name(path)
                yield path, os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
            else:
                raise LauncherError("it is not a regular file")
        except (OSError, LauncherError) as error:
            complain(out, f"not returned: {path[:NAME_MAX]!a}: {error}")


def send_results(work: str, out: int) -> None:
    """Every result as frames."""
    folder = os.open(os.path.join(work, OUT), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    for name, fd in results(folder, out):
        size = os.fstat(fd).st_size
        write_frame(out, RESULT_BEGIN, json.dumps({"name": name, "size": size}).encode())
        while size:
            data = read_exactly(fd, min(size, CHUNK))
            write_frame(out, RESULT_CHUNK, data)
            size -= len(data)
        write_frame(out, RESULT_END, b"")
        os.close(fd)


def complain(out: int, text: str) -> None:
    """A line of the launcher's own on STDERR."""
    write_frame(out, STDERR, f"carnet: {text}\n".encode("utf-8", "backslashreplace"))


def run(fd: int, out: int, work: str) -> int:
    """One job, from its first frame to its results. Returns the exit code."""
    try:
        index = receive(fd, work)
    except (LauncherError, OSError) as error:
        complain(out, f"the job was refused: {error}")
        return REFUSED
    try:
        job = start(index, work)
    except (OSError, ValueError) as error:
        complain(out, f"the command does not start: {error}")
        return 127 if isinstance(error, FileNotFoundError) else 126
    code = relay(job, out)
    try:
        send_results(work, out)
    except (LauncherError, OSError) as error:
        complain(out, f"the results can not be read: {error}")
        return code or REFUSED
    return code


def main() -> None:
    """Run the job on standard input and output, and end with its code. Only under a cage's uid, which it clears."""
    if os.getuid() < UID_MIN:
        sys.exit("carnet: the launcher runs inside a cage only")
    code = run(0, 1, WORK)
    write_frame(1, EXIT, json.dumps({"code": code}).encode())
    sys.exit(code)


if __name__ == "__main__":
    main()
