"""Ends of jobs that are yet to be told to their webhooks: a row of the journal from the job's acceptance on."""

from farm.coordinator.storage import Storage
from farm.coordinator.views import JobView


class PendingWebhooks:
    """What is to be told; `farm.webhooks` tells it."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def job_ids(self) -> list[str]:
        """Jobs that have ended, and whose end is yet to be told."""
        return await self._storage.read(self._storage.reader.pending_webhooks)

    async def settle(self, job: JobView) -> None:
        """Notes that this end of a job was told, or never will be."""
        assert job.end_time is not None, "only an end is told"
        await self._storage.write(self._storage.journal.settle_webhook, job.job_id, job.end_time)
