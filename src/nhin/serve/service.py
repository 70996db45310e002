"""The state of a running service: its workers, its metrics, which requests it is answering, and its end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nhin.serve.metrics import ServiceMetrics
from nhin.serve.pool import WorkerPool
from nhin.serve.problems import RequestProblem
from nhin.serve.settings import ServiceSettings
from nhin.serve.worker_process import WorkerProcess, WorkerProtocol

MAX_UPLOADS = 64
"""Files that are received at a time."""
_ANSWER_SECONDS = 1.0
"""Of the grace time, for telling those that are not done."""


def start_process(settings: ServiceSettings) -> WorkerProcess:
    """Start a worker process; open it before it is called."""
    return WorkerProcess(
        {
            "weights": settings.weights,
            "digest": settings.digest,
            "max_pixels": settings.max_pixels,
            "max_pages": settings.max_pages,
        }
    )


@dataclass(slots=True)
class Service:
    """A service; ``start_worker`` starts one of its workers."""

    settings: ServiceSettings
    start_worker: Callable[[], WorkerProtocol] | None = None
    metrics: ServiceMetrics = field(default_factory=ServiceMetrics)
    is_draining: bool = False
    pool: WorkerPool = field(init=False)
    _requests: set[asyncio.Timeout] = field(default_factory=set)

    def __post_init__(self) -> None:
        start = self.start_worker or (lambda: start_process(self.settings))
        self.pool = WorkerPool(start, self.settings, self.metrics)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Start the workers, and end them at the end of a ``with`` block.

        Raises:
            NhinError: A worker cannot be started.
        """
        try:
            await self.pool.open()
            yield
        finally:
            await self.pool.close()

    @property
    def is_ready(self) -> bool:
        """Whether new requests can be answered."""
        return not self.is_draining and self.pool.ready > 0

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Accept a request, which is then answered before the end of the grace time, whatever comes.

        Raises:
            RequestProblem: No more are taken, or the grace time ended.
        """
        if self.is_draining:
            raise RequestProblem(503, "the service is shutting down", {"Retry-After": "10"})
        limit = self.settings.workers + self.settings.queue + MAX_UPLOADS
        if self.pool.is_full or len(self._requests) >= limit:
            raise RequestProblem(429, "too many requests are waiting; try again later", self.pool.retry_after)
        deadline = asyncio.timeout(None)
        self._requests.add(deadline)
        try:
            async with deadline:
                yield
        except TimeoutError:
            raise RequestProblem(503, "the service is shutting down", {"Retry-After": "10"}) from None
        finally:
            self._requests.discard(deadline)

    def drain(self) -> None:
        """Take no more requests, and end those that are not done at the end of the grace time."""
        if self.is_draining:
            return
        self.is_draining = True
        end = asyncio.get_running_loop().time() + max(0.0, self.settings.grace - _ANSWER_SECONDS)
        for deadline in self._requests:
            deadline.reschedule(end)

    def format_metrics(self) -> str:
        """Return the metrics as text."""
        pool = self.pool
        gauges = {
            "nhin_queue_length": pool.waiting,
            "nhin_running": pool.running,
            "nhin_workers_ready": pool.ready,
        }
        return self.metrics.format(gauges)
