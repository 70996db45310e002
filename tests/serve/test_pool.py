"""Every job of the pool is answered, whatever happens to its worker; the workers are objects of the test."""

import asyncio
import threading
from dataclasses import replace

import pytest

from nhin.errors import CheckpointError
from nhin.serve import pool as pool_module
from nhin.serve.metrics import ServiceMetrics
from nhin.serve.pool import WorkerPool
from nhin.serve.problems import RequestProblem
from nhin.serve.service import Service
from nhin.serve.settings import ServiceSettings
from nhin.serve.worker_process import WorkerDied

RESTARTS = "nhin_worker_restarts_total"


class Pool:
    """An open pool whose workers act by the first letter of the data; it keeps what they were given."""

    def __init__(self, fake, **settings):
        self.metrics, self.given, self.started = ServiceMetrics(), [], 0
        self.go, self.busy, self.fake = threading.Event(), threading.Event(), fake
        settings = ServiceSettings(**{"workers": 1, "queue": 4, **settings})
        self.pool = WorkerPool(self.start, settings, self.metrics)

    def start(self):
        self.started += 1
        return self.fake(self.act)

    def act(self, worker, values, data):
        self.given.append(data)
        kind = data[:1]
        if kind == b"c" or (kind == b"o" and self.given.count(data) == 1):
            worker.crash()
        elif kind == b"h":
            self.busy.set()
            worker.hang()
        elif kind == b"w":
            self.busy.set()
            assert self.go.wait(60)
        elif kind == b"f":
            raise AttributeError("a fault of ours")
        return {"pages": 1}, data

    def send(self, data):
        return asyncio.ensure_future(self.pool.run({}, lambda: data))

    def limit(self, **settings):
        self.pool._settings = replace(self.pool._settings, **settings)

    async def until_busy(self):
        await asyncio.to_thread(self.busy.wait, 60)

    def restarts(self, reason):
        return self.metrics.count(RESTARTS, reason=reason)

    async def __aenter__(self):
        await self.pool.open()
        return self

    async def __aexit__(self, *why):
        self.go.set()
        await self.pool.close()


@pytest.fixture
def run(fake):
    """Return what runs a coroutine function with an open pool."""

    def run(scenario, **settings):
        async def with_pool():
            async with Pool(fake, **settings) as pool:
                await scenario(pool)

        asyncio.run(with_pool())

    return run


async def fails(job, status):
    with pytest.raises(RequestProblem) as why:
        await job
    assert why.value.status == status
    return why.value


async def succeeds(pool, data=b"good"):
    assert await pool.send(data) == ({"pages": 1}, data)


def test_a_job_whose_worker_crashes_is_tried_once_more(run):
    async def scenario(pool):
        await succeeds(pool, b"once")
        assert pool.given == [b"once"] * 2
        assert pool.restarts("crashed") == pool.metrics.count("nhin_retries_total") == 1

    run(scenario)


def test_a_job_that_crashes_two_workers_is_refused_and_others_do_not_notice(run):
    async def scenario(pool):
        others = [pool.send(b"good %d" % i) for i in range(2)]
        await fails(pool.send(b"crash"), 503)
        assert [(await other)[1] for other in others] == [b"good 0", b"good 1"]
        assert pool.given.count(b"crash") == 2
        await succeeds(pool)

    run(scenario, workers=2)


def test_a_job_that_hangs_ends_at_its_deadline_with_its_worker(run):
    async def scenario(pool):
        pool.limit(seconds=0.01)
        await fails(pool.send(b"hang"), 504)
        pool.limit(seconds=60)
        await succeeds(pool)
        assert pool.given.count(b"hang") == pool.restarts("slow") == 1

    run(scenario)


def test_a_fault_of_ours_fails_one_job_and_replaces_the_worker(run):
    async def scenario(pool):
        await fails(pool.send(b"fault"), 500)
        await succeeds(pool)
        assert pool.started == 2

    run(scenario)


def test_more_jobs_than_the_queue_holds_are_refused_with_a_time_to_come_back(run):
    async def scenario(pool):
        accepted = [pool.send(b"wait %d" % i) for i in range(3)]
        await pool.until_busy()
        refused = await fails(pool.send(b"more"), 429)
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert (pool.pool.running, pool.pool.waiting) == (1, 2)
        pool.go.set()
        assert [(await job)[1] for job in accepted] == [b"wait 0", b"wait 1", b"wait 2"]
        await succeeds(pool)

    run(scenario, queue=2)


def test_a_job_whose_client_leaves_the_queue_is_never_read(run):
    async def scenario(pool):
        first, left = pool.send(b"wait"), pool.send(b"left")
        await pool.until_busy()
        left.cancel()
        await asyncio.wait([left])
        assert pool.pool.waiting == 0
        pool.go.set()
        await first
        await succeeds(pool)
        assert b"left" not in pool.given

    run(scenario)


def test_a_worker_is_freed_when_the_client_of_its_job_leaves(run, monkeypatch):
    monkeypatch.setattr(pool_module, "LEAVE_SECONDS", 0.01)

    async def scenario(pool):
        left = pool.send(b"hang")
        await pool.until_busy()
        left.cancel()
        await succeeds(pool)
        assert pool.restarts("left") == 1

    run(scenario)


def test_a_worker_that_finishes_after_its_client_left_goes_on(run):
    async def scenario(pool):
        left = pool.send(b"wait")
        await pool.until_busy()
        left.cancel()
        await asyncio.wait([left])
        pool.go.set()
        await succeeds(pool)
        assert pool.started == 1

    run(scenario)


def test_a_job_that_no_worker_takes_in_time_is_refused(run):
    async def scenario(pool):
        first = pool.send(b"wait")
        await pool.until_busy()
        pool.limit(wait_seconds=0.01)
        await fails(pool.send(b"late"), 503)
        pool.go.set()
        await first
        assert pool.given == [b"wait"]

    run(scenario)


def test_a_worker_is_replaced_after_its_number_of_jobs(run):
    async def scenario(pool):
        for _ in range(5):
            await succeeds(pool)
        assert pool.started == 3
        assert pool.restarts("old") == 2

    run(scenario, jobs_per_worker=2)


def test_a_worker_that_dies_while_it_waits_is_replaced(run, monkeypatch):
    monkeypatch.setattr(pool_module, "_CHECK_SECONDS", 0.01)

    async def scenario(pool):
        pool.pool._workers[0].kill()
        while pool.started < 2 or pool.pool.ready < 1:
            await asyncio.sleep(0.01)
        await succeeds(pool)

    run(scenario)


def test_a_worker_that_cannot_be_started_is_tried_again(run, monkeypatch):
    monkeypatch.setattr(pool_module, "_FIRST_DELAY", 0.001)

    async def scenario(pool):
        start, failures = pool.pool._start_worker, [CheckpointError("torn"), OSError("no memory")]

        def fail_first():
            if failures:
                raise failures.pop()
            return start()

        pool.pool._start_worker = fail_first
        await succeeds(pool, b"once")
        assert not failures

    run(scenario)


def test_a_pool_that_closes_refuses_the_jobs_that_are_not_done(run):
    async def scenario(pool):
        jobs = [pool.send(b"hang"), pool.send(b"good")]
        await pool.until_busy()
        await pool.pool.close()
        for job in jobs:
            await fails(job, 503)

    run(scenario)


class StuckLoading:
    """What starts workers that hang while they load, once it is told to; it keeps them."""

    def __init__(self, pool):
        self.start, self.stuck, self.is_on = pool.pool._start_worker, [], True
        self.loading = threading.Event()
        pool.pool._start_worker = self

    def __call__(self):
        worker = self.start()
        if self.is_on:
            self.stuck.append(worker)
            worker.open = lambda: self.open(worker)
        return worker

    def open(self, worker):
        self.loading.set()
        worker.hang()
        raise WorkerDied("a worker ended")


def test_a_worker_that_hangs_while_it_loads_is_ended_and_another_is_started(run, monkeypatch):
    monkeypatch.setattr(pool_module, "_FIRST_DELAY", 0.001)

    async def scenario(pool):
        pool.limit(load_seconds=0.01)
        stuck = StuckLoading(pool)
        job = pool.send(b"once")
        await asyncio.to_thread(stuck.loading.wait, 60)
        stuck.is_on = False
        pool.limit(load_seconds=60)
        assert (await job)[1] == b"once"
        assert stuck.stuck
        assert not any(worker.is_open for worker in stuck.stuck)

    run(scenario)


def test_a_pool_closes_while_a_worker_hangs_that_is_being_loaded(run):
    async def scenario(pool):
        stuck = StuckLoading(pool)
        job = pool.send(b"once")
        await asyncio.to_thread(stuck.loading.wait, 60)
        await pool.pool.close()
        await fails(job, 503)

    run(scenario)


def test_a_service_whose_worker_hangs_while_it_loads_does_not_start(fake):
    def start():
        worker = fake(None)
        worker.open = worker.hang
        return worker

    settings = ServiceSettings(load_seconds=0.01)
    with pytest.raises(CheckpointError, match=r"not loaded within 0\.01 seconds"):
        asyncio.run(WorkerPool(start, settings, ServiceMetrics()).open())


def test_a_service_that_is_interrupted_while_a_worker_loads_ends_it(fake):
    worker, loading = fake(None), threading.Event()
    worker.open = lambda: (loading.set(), worker.hang())

    async def scenario():
        start = Service(ServiceSettings(), lambda: worker).run().__aenter__()
        task = asyncio.ensure_future(start)
        await asyncio.to_thread(loading.wait, 60)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(scenario())
    assert not worker.is_open


def test_a_pool_whose_workers_cannot_be_loaded_does_not_open(fake):
    workers = []

    def start():
        if workers:
            raise CheckpointError("no such weights")
        workers.append(fake(None))
        return workers[0]

    with pytest.raises(CheckpointError, match="no such weights"):
        asyncio.run(WorkerPool(start, ServiceSettings(workers=2), ServiceMetrics()).open())
    assert not workers[0].is_open
