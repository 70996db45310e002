"""Read many files in their order, several at the same time, few of them ahead of who takes the results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from nhin.errors import CheckpointError, NhinError
from nhin.image.source import PictureSource, source_name
from nhin.reading.documents import ReadPage
from nhin.reading.reading import Document, Reading

Item = TypeVar("Item")
Result = TypeVar("Result")
NamedSource = tuple[str, PictureSource]
"""What errors call a picture, and the picture."""
AHEAD = 2
"""Items for each worker that are begun before their results are taken."""


def map_ordered(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield the result of each item, in order; ``workers`` threads call the function.

    With one worker nothing is computed before it is asked for. What the function raises is raised in its
    turn, and ends it all; so does closing the generator. Calls that run then are not waited for.
    """
    if workers == 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers, "nhin-read")
    begun: deque[Future[Result]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) >= AHEAD * workers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def iter_documents(
    read_pages: Callable[[PictureSource, str], Iterator[ReadPage]],
    sources: Iterable[PictureSource | NamedSource],
    workers: int,
) -> Iterator[Document]:
    """Yield the document of each source; see ``Reader.read_many``."""

    def read_one(item: PictureSource | NamedSource) -> Document:
        name, source = item if isinstance(item, tuple) else (source_name(item), item)
        pages: list[Reading] = []
        try:
            pages += (page.reading for page in read_pages(source, name))
        except CheckpointError:
            raise  # it would fail every file alike
        except NhinError as why:
            return Document(name, tuple(pages), why)
        return Document(name, tuple(pages))

    return map_ordered(read_one, sources, workers)
