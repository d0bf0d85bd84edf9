"""Where results and receipt go: known before a job is sent, and nothing is overwritten."""

from pathlib import Path

import pytest

from carnet.cli.homecoming import Homecoming
from carnet.core.errors import FieldInvalid

NAME = "tenants/" + "0" * 32 + "/jobs/" + "1" * 32


def test_the_receipt_lies_beside_the_output_or_is_named_for_the_job() -> None:
    assert Homecoming(output=Path("a/out"), receipt=None).receipt_path(NAME) == Path("a/out.receipt")
    assert Homecoming(output=Path("a/v1.2"), receipt=None).receipt_path(NAME) == Path("a/v1.2.receipt")
    assert Homecoming(output=None, receipt=None).receipt_path(NAME) == Path("1" * 32 + ".receipt")
    assert Homecoming(output=Path("out"), receipt=Path("r")).receipt_path(NAME) == Path("r")


def test_a_new_or_empty_folder_is_free(tmp_path: Path) -> None:
    Homecoming(output=tmp_path / "new", receipt=None).check_free()
    (tmp_path / "empty").mkdir()
    Homecoming(output=tmp_path / "empty", receipt=None).check_free()
    Homecoming(output=None, receipt=None).check_free()


def test_what_is_in_the_way_is_refused_before_the_job_is_sent(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "out.receipt").touch()
    for output, receipt in (
        (tmp_path / "full", None),
        (tmp_path / "full" / "file", None),
        (tmp_path / "out", None),
        (Path("/"), None),
        (None, tmp_path / "full" / "file"),
        (None, tmp_path / "dangling"),
    ):
        with pytest.raises(FieldInvalid):
            Homecoming(output=output, receipt=receipt).check_free()
