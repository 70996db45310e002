"""What reads pictures for ``nhin read``: a reader in this process, or worker processes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from nhin.cli.output import print_error
from nhin.errors import CheckpointError, NhinError
from nhin.reading.documents import PictureReader, ReadPage
from nhin.reading.read_many import map_ordered
from nhin.reading.read_pool import ReadPool
from nhin.reading.reader import Reader

Pages = Iterator[ReadPage]
PagesAndError = tuple[list[ReadPage], NhinError | None]


@contextmanager
def open_reader(settings: dict[str, Any], crop: bool, workers: int) -> Iterator[PictureReader]:
    """Yield a reader with its networks loaded, since weights that cannot be fail every picture alike.

    Args:
        settings: Arguments of ``Reader``.
        crop: The pictures are single words or lines.
        workers: Processes; with 1 it is a ``Reader`` in this one.
    """
    if workers == 1:
        yield Reader(**settings).load(crop)
        return
    with ReadPool(settings, workers, crop, print_error) as pool:
        yield pool


def read_ahead(
    read_pages: Callable[[Any], Pages], sources: Sequence[object], workers: int
) -> Callable[[Any], Pages]:
    """Return a function that gives the pages of each source, in turn, while those after it are read.

    Their pictures are not kept: ahead, only the text is.
    """
    if workers == 1 or len(sources) == 1:
        return read_pages

    def read_all(source: Any) -> PagesAndError:
        pages: list[ReadPage] = []
        try:
            pages += (replace(page, open_picture=None) for page in read_pages(source))
        except CheckpointError:
            raise  # it would fail every picture alike
        except NhinError as why:
            return pages, why
        return pages, None

    found = map_ordered(
        read_all, [source for source in sources if not isinstance(source, NhinError)], workers
    )

    def read_next(source: Any) -> Pages:
        pages, why = next(found)
        yield from pages
        if why:
            raise why

    return read_next
