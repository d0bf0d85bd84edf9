"""What is stored, as what is answered."""

import pytest

from carnet.core.job import JobState
from carnet.v1 import jobs_pb2 as pb
from gateway.messages import job_key, job_message, job_name, state_number
from tests.fixtures import stored


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_has_its_number(state: JobState) -> None:
    assert pb.Job.State.Name(state_number(state)) == f"STATE_{state.name}"


def test_a_name_leads_back_to_its_key() -> None:
    job = stored.job()
    assert job_key(job_name(job.key)) == job.key


def test_a_job_is_shown_without_its_documents_unless_they_are_given() -> None:
    message = job_message(stored.job())
    assert not message.facts
    assert not message.HasField("manifest")
