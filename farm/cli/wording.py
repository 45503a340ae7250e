"""The API's words for states and classes, as commands say them to people."""

from farm.v1 import job_pb2, worker_pb2


def worker_state_word(worker: worker_pb2.Worker) -> str:
    """Where a worker is in its life, in small letters."""
    return worker_pb2.WorkerState.Name(worker.state).removeprefix("WORKER_STATE_").lower()


def attempt_state_word(attempt: job_pb2.Attempt) -> str:
    """Where an attempt is in its life, in small letters."""
    return job_pb2.AttemptState.Name(attempt.state).removeprefix("ATTEMPT_STATE_").lower()


def chip_class_word(worker: worker_pb2.Worker) -> str:
    """What a worker's chip favours: ANE, GPU or CPU."""
    return job_pb2.ChipClass.Name(worker.chip_class).removeprefix("CHIP_CLASS_")
