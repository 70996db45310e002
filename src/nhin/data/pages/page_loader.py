"""Batches of pictures of pages, drawn ahead in other processes; the same from any position on."""

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from nhin.data.pages.page_source import PageSource, PageTargets, draw_targets
from nhin.image.preprocess import Pixels
from nhin.ranges import Range

Drawn = tuple[Pixels, PageTargets]


@dataclass(frozen=True, slots=True)
class PagePosition:
    """The next batch of the stream: group of pages, batch in the group."""

    group: Annotated[int, Range(0, 2**40)] = 0
    batch: Annotated[int, Range(0, 2**40)] = 0


@dataclass(frozen=True, slots=True)
class PageBatch:
    """Pictures and targets, stacked along a first axis; ``after`` is the position of the next batch."""

    pictures: NDArray[np.uint8]
    cores: NDArray[np.int8]
    fields: NDArray[np.float16]
    weights: NDArray[np.int8]
    after: PagePosition


@dataclass(frozen=True, slots=True)
class PageLoader:
    """Draws groups of pages, ``views`` pictures of each, and deals them into batches at random.

    Args:
        source: Draws the pages.
        batch: Pictures in a batch; a group has ``pages`` times ``views`` of them.
        pages: Pages in a group.
        views: Pictures of each page.
        workers: Processes that draw; 0: this one.
        prefetch: Pages that are drawn ahead, at least.
    """

    source: PageSource
    batch: int
    pages: int
    views: int
    workers: int = 1
    prefetch: int = 64

    def iter_batches(self, at: PagePosition) -> Generator[PageBatch, None, None]:
        """Yield batches without end, from a position on."""
        with self._open_pool() as submit:
            pending: deque[list[Callable[[], list[Drawn]]]] = deque()
            begin, number = at.batch, at.group
            upcoming = number
            while True:
                while len(pending) <= self.prefetch / self.pages:
                    first = upcoming * self.pages
                    pending.append([submit(index) for index in range(first, first + self.pages)])
                    upcoming += 1
                drawn = [view for result in pending.popleft() for view in result()]
                order = np.random.default_rng((self.source.seed, number)).permutation(len(drawn))
                count = len(drawn) // self.batch
                for part in range(begin, count):
                    rows = [drawn[i] for i in order[part * self.batch : (part + 1) * self.batch]]
                    after = PagePosition(number, part + 1) if part + 1 < count else PagePosition(number + 1)
                    yield _stack(rows, after)
                begin, number = 0, number + 1

    @contextmanager
    def _open_pool(self) -> Iterator[Callable[[int], Callable[[], list[Drawn]]]]:
        """Yield what starts to draw a page, and returns what waits for its pictures."""
        if not self.workers:
            yield lambda index: lambda: _draw(self.source, index, self.views)
            return
        pool = ProcessPoolExecutor(self.workers, initializer=_init_worker, initargs=(self.source, self.views))

        def submit(index: int) -> Callable[[], list[Drawn]]:
            future: Future[list[Drawn]] = pool.submit(_draw_in_worker, index)
            return future.result

        try:
            yield submit
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _stack(rows: list[Drawn], after: PagePosition) -> PageBatch:
    pictures = np.stack([picture for picture, _ in rows])
    parts = (
        np.stack([getattr(targets, name) for _, targets in rows]) for name in ("cores", "fields", "weights")
    )
    return PageBatch(pictures, *parts, after=after)


def _draw(source: PageSource, index: int, views: int) -> list[Drawn]:
    return [(page.picture, draw_targets(page)) for page in source.sample(index, views)]


_JOB: list[tuple[PageSource, int]] = []


def _init_worker(source: PageSource, views: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains
    os.nice(1)
    import cv2

    cv2.setNumThreads(1)
    _JOB[:] = [(source, views)]


def _draw_in_worker(index: int) -> list[Drawn]:
    return _draw(_JOB[0][0], index, _JOB[0][1])
