"""The farm's errors: one tree, in which every class knows the word (`reason`) that its clients can rely on.

The gRPC status code of each class is in one table, `CODES` in `farm.api.status`. A message says what happened, what it
means and what to do next.
"""

from collections.abc import Mapping

JOB_FAILED = "JOB_FAILED"
"""A job failed: none of its images could be rendered."""

RENDERER_CRASHED = "RENDERER_CRASHED"
"""An image failed because the process that rendered it died over it again and again."""

RESULT_DEFECTIVE = "RESULT_DEFECTIVE"
"""An image failed because the file that a worker delivered for it is not the image that was asked for."""

FAILURE_REASONS = frozenset({JOB_FAILED, RENDERER_CRASHED, RESULT_DEFECTIVE})
"""Reasons why jobs and images fail that no class below stands for: they are reported and never raised."""


class FarmError(Exception):
    """Base of every error that the farm raises on purpose.

    Args:
        message: What happened, what it means, what to do next.
        metadata: The message's variable parts by name, for programs.
    """

    reason = "INTERNAL"

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: Mapping[str, str] = metadata


class InvalidRequestError(FarmError):
    """A request is wrong in one or more fields.

    Args:
        message: A summary.
        violations: What is wrong with which field, by the field's path (for example `entries[3].steps`).
    """

    reason = "INVALID_REQUEST"

    def __init__(self, message: str, violations: Mapping[str, str] | None = None, **metadata: str) -> None:
        super().__init__(message, **metadata)
        self.violations: Mapping[str, str] = violations or {}


class RequestIdReusedError(FarmError):
    """A request id came again with another request."""

    reason = "REQUEST_ID_REUSED"


class SubmissionUnderWayError(FarmError):
    """The same submission is arriving on another call."""

    reason = "SUBMISSION_UNDER_WAY"


class JobNotFoundError(FarmError):
    """No job of that name, or none that the caller may see."""

    reason = "JOB_NOT_FOUND"

    @classmethod
    def of(cls, job_id: str) -> "JobNotFoundError":
        """The error for a job that there is not."""
        return cls(f'There is no job "{job_id}". `farm jobs` lists the existing ones.', job=job_id)


class ImageNotFoundError(FarmError):
    """No image of that name."""

    reason = "IMAGE_NOT_FOUND"


class WorkerNotFoundError(FarmError):
    """No worker of that name."""

    reason = "WORKER_NOT_FOUND"


class ModelNotFoundError(FarmError):
    """No model of that name."""

    reason = "MODEL_NOT_FOUND"


class TimeLimitError(FarmError):
    """The images that a caller waited for were not ready within the time limit."""

    reason = "TIME_LIMIT_EXCEEDED"


class InfeasibleJobError(FarmError):
    """No worker that the farm knows can ever render the job."""

    reason = "JOB_INFEASIBLE"


class ScenarioError(FarmError):
    """A file that describes a fleet, a workload or faults to simulate is wrong."""

    reason = "SCENARIO_INVALID"


class WrongStateError(FarmError):
    """The job or worker is in a state that does not allow what was asked."""

    reason = "WRONG_STATE"


class StaleAttemptError(FarmError):
    """A result or report of an attempt that no longer counts: it was fenced off, or its image is settled already."""

    reason = "STALE_ATTEMPT"


class ArtifactError(FarmError):
    """An image file is missing or is not what was committed."""

    reason = "ARTIFACT_DAMAGED"


class JournalError(FarmError):
    """The journal cannot be opened, read or written."""

    reason = "JOURNAL_FAILED"


class DiskFullError(FarmError):
    """There is no room on the coordinator's disk."""

    reason = "DISK_FULL"


class PackageError(FarmError):
    """A model package cannot be read, or is not what its manifest says."""

    reason = "PACKAGE_INVALID"


class FetchError(FarmError):
    """A model cannot be fetched: it is not there, the hub does not answer, or what arrived is damaged."""

    reason = "FETCH_FAILED"


class UnsupportedOperationsError(PackageError):
    """A package uses operations that the portable runtime does not cover. All of them are named at once."""

    reason = "OPERATIONS_UNSUPPORTED"


class ConversionError(FarmError):
    """A checkpoint cannot be converted, or the result does not compute what the checkpoint does."""

    reason = "CONVERSION_FAILED"


class FeedError(FarmError):
    """The arrays given to a model have wrong names, shapes or types."""

    reason = "FEED_INVALID"


class PipelineError(FarmError):
    """A model folder does not make up a pipeline, or cannot render what was asked."""

    reason = "PIPELINE_UNUSABLE"


class ImageFailedError(FarmError):
    """One image could not be rendered; the pipeline is fine."""

    reason = "IMAGE_FAILED"


class DeviceBusyError(FarmError):
    """Another process on this machine holds the device."""

    reason = "DEVICE_BUSY"


class WorkerFolderError(FarmError):
    """A worker's folder cannot be used."""

    reason = "WORKER_FOLDER_UNUSABLE"


class MembershipError(FarmError):
    """A machine has not joined a farm, has joined another, or what it was given cannot be read."""

    reason = "MEMBERSHIP_UNUSABLE"


class InvitationError(FarmError):
    """What a machine is to join with is not an invitation line."""

    reason = "INVITATION_INVALID"


class ServiceError(FarmError):
    """The system's own service manager did not take the worker as a service."""

    reason = "SERVICE_FAILED"


class AddressError(FarmError):
    """An address cannot be listened on or is not allowed."""

    reason = "ADDRESS_UNUSABLE"


class UnreachableError(FarmError):
    """The farm does not answer."""

    reason = "UNREACHABLE"


class BatchFileError(FarmError):
    """A batch file cannot be read, or a row of it is wrong."""

    reason = "BATCH_FILE_INVALID"


class OutputFolderError(FarmError):
    """A folder cannot take a job's images: it cannot be written, or it holds another job's."""

    reason = "OUTPUT_FOLDER_UNUSABLE"


class AccessFilesError(FarmError):
    """A file of keys or tokens cannot be used."""

    reason = "ACCESS_FILES_UNUSABLE"


class UnauthenticatedError(FarmError):
    """The call carries no token, or one that is not valid (any more)."""

    reason = "UNAUTHENTICATED"


class PermissionDeniedError(FarmError):
    """The token's role does not allow what was asked."""

    reason = "PERMISSION_DENIED"


class TokenNotFoundError(FarmError):
    """No token of that name."""

    reason = "TOKEN_NOT_FOUND"


class UntrustedServerError(FarmError):
    """What answers cannot prove that it is the farm that was asked for."""

    reason = "SERVER_UNTRUSTED"


class WebhookError(FarmError):
    """A webhook could not be notified of its job's end."""

    reason = "WEBHOOK_FAILED"


class VersionMismatchError(FarmError):
    """A worker's farm, its source, Ray or Python is another version than the coordinator's."""

    reason = "VERSION_MISMATCH"


class WorkerNameTakenError(FarmError):
    """Another machine has joined under this name."""

    reason = "WORKER_NAME_TAKEN"
