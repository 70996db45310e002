"""A pool of worker processes: a bounded queue, a deadline for each job, and a new process after a crash.

A job whose worker dies is tried once more. A job whose client leaves is dropped from the queue, or its
worker is given ``LEAVE_SECONDS`` to finish before it is ended.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nhin.errors import CheckpointError, NhinError
from nhin.serve.log import describe_error, write_log
from nhin.serve.metrics import ServiceMetrics
from nhin.serve.problems import RequestProblem
from nhin.serve.settings import ServiceSettings
from nhin.serve.worker_process import LoadData, WorkerAnswer, WorkerDied, WorkerProtocol

LEAVE_SECONDS = 2.0
_TRIES = 2
_CHECK_SECONDS = 1.0
_FIRST_DELAY, _MAX_DELAY = 0.1, 10.0


@dataclass(slots=True, eq=False)
class PoolJob:
    """One file to read; ``answer`` is cancelled when its client leaves."""

    values: dict[str, Any]
    load: LoadData
    answer: "asyncio.Future[WorkerAnswer]"
    tries: int = 0

    def fail(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        """End it with a problem, unless it has ended."""
        if not self.answer.done():
            self.answer.set_exception(RequestProblem(status, detail, headers))


class WorkerPool:
    """Runs jobs on worker processes.

    Args:
        start_worker: Starts one, which is then opened; called in a thread.
        settings: Limits.
        metrics: Counts restarts and retries.
    """

    def __init__(
        self, start_worker: Callable[[], WorkerProtocol], settings: ServiceSettings, metrics: ServiceMetrics
    ) -> None:
        self._start_worker, self._settings, self._metrics = start_worker, settings, metrics
        self._waiting: deque[PoolJob] = deque()
        self._arrived = asyncio.Event()
        self._workers: list[WorkerProtocol | None] = []
        self._loading: dict[int, WorkerProtocol] = {}
        self._is_closed = False
        self._slots: list[asyncio.Task[None]] = []
        self._mean_seconds = 1.0
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many jobs wait for a worker."""
        return len(self._waiting)

    @property
    def ready(self) -> int:
        """How many workers can be called."""
        return sum(worker is not None and worker.is_open for worker in self._workers)

    @property
    def is_full(self) -> bool:
        """Whether no more jobs are taken."""
        return self.waiting + self.running >= self._settings.workers + self._settings.queue

    @property
    def retry_after(self) -> dict[str, str]:
        """A header that says after how many seconds there may be room."""
        rounds = (self.waiting + self.running) / self._settings.workers
        return {"Retry-After": str(max(1, min(60, round(rounds * self._mean_seconds))))}

    async def open(self) -> None:
        """Start the workers.

        Raises:
            NhinError: One of them cannot be started.
        """
        self._threads = ThreadPoolExecutor(self._settings.workers, "worker")
        self._workers = [None] * self._settings.workers
        slots = range(self._settings.workers)
        results = await asyncio.gather(*map(self._open_worker, slots), return_exceptions=True)
        for why in filter(None, results):
            await self.close()
            raise why
        self._slots = [asyncio.create_task(self._run_slot(slot)) for slot in slots]

    async def close(self) -> None:
        """End the workers, also those that load; jobs that are not done are refused."""
        self._is_closed = True
        for task in self._slots:
            task.cancel()
        for job in self._waiting:
            job.fail(503, "the service is shutting down", self.retry_after)
        for worker in (*filter(None, self._workers), *self._loading.values()):
            worker.kill()
        await asyncio.gather(*self._slots, return_exceptions=True)
        self._threads.shutdown()
        for worker in (*filter(None, self._workers), *self._loading.values()):
            worker.close()

    async def run(self, values: dict[str, Any], load: LoadData) -> WorkerAnswer:
        """Run a job; when this is cancelled, the job is dropped.

        Args:
            values: What the worker is asked.
            load: Returns the bytes of the file; called in a thread, again if the first worker dies.

        Raises:
            RequestProblem: The queue is full, or the job took too long, waited too long or died twice.
        """
        if self.is_full:
            raise RequestProblem(429, "too many requests are waiting; try again later", self.retry_after)
        loop = asyncio.get_running_loop()
        job = PoolJob(values, load, loop.create_future())
        timer = loop.call_later(self._settings.wait_seconds, self._expire, job)
        self._waiting.append(job)
        self._arrived.set()
        try:
            return await job.answer
        finally:
            timer.cancel()
            if job in self._waiting:
                self._waiting.remove(job)

    def _expire(self, job: PoolJob) -> None:
        if job in self._waiting:
            job.fail(503, "no worker was free in time; try again later", self.retry_after)

    async def _run_slot(self, slot: int) -> None:
        """Run jobs on one worker after the other."""
        jobs = 0
        while True:
            worker, reason = self._workers[slot], ""
            if worker is None or not worker.is_open:
                reason = "crashed"
            elif jobs >= self._settings.jobs_per_worker:
                reason = "old"
            elif self._waiting:
                jobs += 1
                self.running += 1
                try:
                    reason = await self._run_job(worker, self._waiting.popleft())
                finally:
                    self.running -= 1
            else:
                self._arrived.clear()
                with suppress(TimeoutError):  # look now and then whether the worker is still there
                    await asyncio.wait_for(self._arrived.wait(), _CHECK_SECONDS)
            if reason:
                jobs = 0
                await self._replace_worker(slot, reason)

    async def _run_job(self, worker: WorkerProtocol, job: PoolJob) -> str:
        """Run a job; return why its worker must be replaced, or an empty string."""
        if job.answer.done():
            return ""
        loop, seconds = asyncio.get_running_loop(), self._settings.seconds
        start, job.tries = loop.time(), job.tries + 1
        call = loop.run_in_executor(self._threads, worker.call, job.values, job.load)
        call.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.wait({call, job.answer}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not call.done() and job.answer.done():
                await asyncio.wait({call}, timeout=LEAVE_SECONDS)
            if not call.done():
                reason = "left" if job.answer.done() else "slow"
                job.fail(
                    504, f"the file takes more than {seconds:g} seconds to read; ask for fewer pages at once"
                )
                worker.kill()
                await asyncio.wait({call})
                return reason
        except asyncio.CancelledError:
            job.fail(503, "the service is shutting down")
            raise
        self._mean_seconds += (loop.time() - start - self._mean_seconds) / 8
        return self._finish(job, call)

    def _finish(self, job: PoolJob, call: "asyncio.Future[WorkerAnswer]") -> str:
        """Give a job what its worker answered; return why the worker must be replaced."""
        why = call.exception()
        request_id = job.values.get("request_id")
        if isinstance(why, WorkerDied):
            write_log("job-crashed", request_id=request_id, tries=job.tries)
            if job.tries < _TRIES and not job.answer.done():
                self._metrics.add("nhin_retries_total")
                self._waiting.appendleft(job)
                self._arrived.set()
            else:
                job.fail(503, "two workers crashed on this file; it may be damaged", {"Retry-After": "60"})
            return "crashed"
        failure = describe_error(why) if why else call.result()[0].get("failed")
        if failure:
            write_log("job-failed", request_id=request_id, **failure)
            job.fail(500, "the service failed on this file; its log says where")
            return "failed"
        if not job.answer.done():
            job.answer.set_result(call.result())
        return ""

    async def _open_worker(self, slot: int) -> None:
        """Start a worker and load its networks.

        Raises:
            NhinError: It cannot be loaded, or not in time.
        """
        seconds = self._settings.load_seconds
        load = asyncio.get_running_loop().run_in_executor(self._threads, self._load_worker, slot)
        load.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({load}, timeout=seconds)
        is_late = not load.done()
        if is_late and (worker := self._loading.get(slot)):
            worker.kill()
        await asyncio.wait({load})
        worker, why = self._loading.pop(slot, None), load.exception()
        if is_late:
            why = CheckpointError(f"the weights are not loaded within {seconds:g} seconds")
        if why:
            if worker:
                worker.close()
            raise why
        self._workers[slot] = worker

    def _load_worker(self, slot: int) -> None:
        worker = self._loading[slot] = self._start_worker()
        if self._is_closed:  # it was started while the pool was closed
            worker.kill()
        worker.open()

    async def _replace_worker(self, slot: int, reason: str) -> None:
        """End a worker and start another, again and again if that fails."""
        write_log("worker-restart", slot=slot, reason=reason)
        self._metrics.add("nhin_worker_restarts_total", reason=reason)
        delay = _FIRST_DELAY
        if worker := self._workers[slot]:
            worker.close()
        self._workers[slot] = None
        while True:
            try:
                return await self._open_worker(slot)
            except (NhinError, OSError) as why:
                write_log("worker-start-failed", slot=slot, error=str(why))
            await asyncio.sleep(delay)
            delay = min(2 * delay, _MAX_DELAY)
