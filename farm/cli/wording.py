"""The API's words for states and classes, as commands say them to people."""

from farm.v1 import job_pb2, worker_pb2

SLOW = 0.7
"""The part of its chip's usual speed below which a worker is called slow, as in the alert FarmWorkerSlow."""


def worker_state_word(worker: worker_pb2.Worker) -> str:
    """Where a worker is in its life, in small letters."""
    return worker_pb2.WorkerState.Name(worker.state).removeprefix("WORKER_STATE_").lower()


def attempt_state_word(attempt: job_pb2.Attempt) -> str:
    """Where an attempt is in its life, in small letters."""
    return job_pb2.AttemptState.Name(attempt.state).removeprefix("ATTEMPT_STATE_").lower()


def slowness_words(worker: worker_pb2.Worker) -> str:
    """That a worker is slow for its chip, and how slow; empty if it is not."""
    speed = worker.relative_speed
    return f"renders at {speed:.0%} of its chip's usual speed" if 0 < speed < SLOW else ""


def chip_class_word(worker: worker_pb2.Worker) -> str:
    """What a worker's chip favours: ANE, GPU or CPU."""
    return job_pb2.ChipClass.Name(worker.chip_class).removeprefix("CHIP_CLASS_")
