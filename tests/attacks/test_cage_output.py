"""Attacks through what a job gives back: forged frames, links, names. Each has a control that shows the way works."""

import json
import struct

import pytest

from carnet.core.errors import FieldInvalid
from carnet.core.receipt import ExitClass
from sandbox import frames
from sandbox.docker import DockerEngine
from tests.fixtures.cage import Run

pytestmark = pytest.mark.docker

FORGER = """
import json, os, struct, sys
def frame(kind, payload): return struct.pack(">BI", kind, len(payload)) + payload
forged = frame(19, json.dumps({"name": "forged", "size": 2}).encode()) + frame(20, b"ok") + frame(21, b"")
if "exit" in sys.argv: forged += frame(22, json.dumps({"code": 0}).encode())
if "noise" in sys.argv: forged = b"\\xff" * 64
out = os.open("/proc/1/fd/1", os.O_WRONLY)
os.write(out, forged)
sys.exit(5 if "fail" in sys.argv else 0)
"""


async def test_a_forged_exit_frame_does_not_make_a_failed_job_succeed(engine: DockerEngine, base_image: str) -> None:
    argv = ("python3", "-IS", "job.py", "exit", "fail")
    outcome, _ = await Run(image=base_image, script=FORGER, argv=argv).on(engine)
    assert outcome.exit is ExitClass.JOB_FAILED
    assert outcome.code != 0


async def test_a_forged_exit_frame_does_not_end_a_job_that_still_runs_as_a_success(
    engine: DockerEngine, base_image: str
) -> None:
    script = FORGER.replace("sys.exit(", "import time; time.sleep(1); print('late'); sys.exit(")
    outcome, _ = await Run(image=base_image, script=script, argv=("python3", "-IS", "job.py", "exit")).on(engine)
    assert outcome.exit is ExitClass.JOB_FAILED


async def test_noise_among_the_frames_is_the_jobs_failure(engine: DockerEngine, base_image: str) -> None:
    outcome, _ = await Run(image=base_image, script=FORGER, argv=("python3", "-IS", "job.py", "noise")).on(engine)
    assert outcome.exit is ExitClass.JOB_FAILED


async def test_control_a_job_can_write_to_its_launchers_output(engine: DockerEngine, base_image: str) -> None:
    outcome, record = await Run(image=base_image, script=FORGER).on(engine)
    assert outcome.exit is ExitClass.SUCCEEDED
    assert record.results == {"forged": b"ok"}
    argv = ("python3", "-IS", "job.py", "fail")
    outcome, _ = await Run(image=base_image, script=FORGER, argv=argv).on(engine)
    assert (outcome.exit, outcome.code) == (ExitClass.JOB_FAILED, 5)


async def test_frames_on_the_jobs_own_stdout_are_only_its_log(engine: DockerEngine, base_image: str) -> None:
    script = FORGER.replace('os.open("/proc/1/fd/1", os.O_WRONLY)', "1")
    outcome, record = await Run(image=base_image, script=script, argv=("python3", "-IS", "job.py", "exit")).on(engine)
    assert outcome.exit is ExitClass.SUCCEEDED
    assert record.results == {}
    assert b"forged" in record.log["stdout"]


async def test_links_pipes_and_odd_names_among_the_results_are_not_returned(
    engine: DockerEngine, base_image: str
) -> None:
    script = """
import os
os.chdir("/work/out")
os.symlink("/etc/shadow", "shadow")
os.symlink("/etc/passwd", "passwd")
os.symlink("/proc", "folder")
os.symlink("/work/out", "loop")
os.mkfifo("pipe")
open(b"bad\\xff", "w").close()
open("back\\\\slash", "w").close()
open("line\\nfeed", "w").close()
os.makedirs("/work/out/" + "/".join("d" * 30))
open("/work/out/" + "/".join("d" * 30) + "/deep", "w").close()
open("honest", "w").write("here")
"""
    outcome, record = await Run(image=base_image, script=script).on(engine)
    assert outcome.exit is ExitClass.SUCCEEDED
    assert record.results == {"honest": b"here"}
    assert record.log["stderr"].count(b"carnet: not returned") == 9


async def test_a_results_folder_that_became_a_link_returns_nothing(engine: DockerEngine, base_image: str) -> None:
    script = "import os\nos.rmdir('/work/out')\nos.symlink('/etc', '/work/out')"
    outcome, record = await Run(image=base_image, script=script).on(engine)
    assert (outcome.exit, outcome.code, record.results) == (ExitClass.JOB_FAILED, 125, {})


@pytest.mark.parametrize(
    "name", ["../job", "/etc/job", "a/../../job", "out/job", "", "a//b", "./a", "a\\b", "line\nfeed", "n" * 256]
)
async def test_a_file_named_outside_the_work_folder_is_refused(
    engine: DockerEngine, base_image: str, name: str
) -> None:
    outcome, record = await Run(image=base_image, script="print('ran')", files={name: b"x"}).on(engine)
    assert (outcome.exit, outcome.code) == (ExitClass.JOB_FAILED, 125)
    assert b"not acceptable" in record.log["stderr"] or b"among the results" in record.log["stderr"]
    assert record.log["stdout"] == b""


def test_a_forged_result_name_does_not_leave_the_parser() -> None:
    def begin(name: str) -> bytes:
        payload = json.dumps({"name": name, "size": 0}).encode()
        return struct.pack(">BI", 19, len(payload)) + payload

    for name in ("../x", "/x", "a/../x", "a//x", "", ".", "a\\b", "a\nb", "n" * 256):
        with pytest.raises(frames.FramesInvalid):
            frames.Parser().feed(begin(name))
    assert frames.Parser().feed(begin("a/x")) == [frames.ResultBegin(name="a/x", size=0)]


def test_an_index_beyond_its_bound_is_refused() -> None:
    with pytest.raises(FieldInvalid):
        frames.index(argv=["x"] * 200_000, environment={}, files=())
