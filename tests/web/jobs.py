"""What tests of other tools' interfaces look up behind them."""

from typing import Any

from farm.client import Client
from farm.domain import JobState
from farm.v1 import job_pb2
from tests.running_farm import RunningFarm
from tests.waiting import until


def job_of(farm: RunningFarm, answer: Any) -> job_pb2.Job:
    """The job that an answer of OpenAI's form names."""
    with Client(farm.address) as client:
        return client.job(answer.model_extra["job"]).message


def until_cancelled(farm: RunningFarm) -> None:
    """Waits until every job of a farm is cancelled."""
    with Client(farm.address) as client:
        until(lambda: all(job.state is JobState.CANCELLED for job in client.jobs()), "a job was not cancelled")
