"""The pipeline process's end of the connection to its host: what it says, and until when it must speak again."""

import faulthandler
import math
import threading
import time
from multiprocessing.connection import Connection

from farm.reports import Report
from farm.worker.messages import Word


class HostConnection:
    """Says what happens to the host, from any thread, and keeps the watch that ends this process when it hangs.

    Args:
        connection: To the host.
        grace: Seconds that the watch waits beyond a deadline, so that a living host acts first.
    """

    def __init__(self, connection: Connection, grace: float) -> None:
        self._connection = connection
        self._grace = grace
        self._sending = threading.Lock()
        self._within: float | None = None
        self._watched_until = -math.inf

    def promise(self, within: float) -> None:
        """The main thread will speak within that many seconds; if it does not, the process ends.

        The watch is a thread of C that needs no GIL, so it ends this process also when the host is dead and a call
        into Core ML never comes back. Winding it up takes a tenth of a millisecond, so it is left as it is while it is
        right to half the grace.
        """
        self._within = within
        until = time.monotonic() + within + self._grace
        if abs(until - self._watched_until) > self._grace / 2:
            faulthandler.dump_traceback_later(within + self._grace, exit=True)
            self._watched_until = until

    def rest(self, within: float | None) -> None:
        """The main thread waits for others; `within` is for the host, as in `Word`."""
        self._within = within
        self._watched_until = -math.inf
        faulthandler.cancel_dump_traceback_later()

    def tell(self, report: Report) -> None:
        """Sends a report.

        Raises:
            OSError: The host is gone.
        """
        with self._sending:
            self._connection.send(Word(report, self._within))
