"""``nhin read --annotate``: each page as a picture with its lines outlined and numbered."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from nhin.cli.read_folder import name_targets
from nhin.errors import UsageError
from nhin.files import write_atomic
from nhin.reading.annotate import annotate_picture
from nhin.reading.documents import ReadPage

_SUFFIX, _QUALITY = ".jpg", 85


class PageAnnotator:
    """Writes a JPEG for each page: ``NAME.jpg`` for the first, ``NAME.page-2.jpg`` for the second.

    Args:
        out: The folder; pictures lie in it as the inputs do.
        paths: The inputs.
        base: The folder from which their places are counted.

    Raises:
        UsageError: An input would be replaced.
    """

    def __init__(self, out: Path, paths: Sequence[Path], base: Path) -> None:
        self._targets = name_targets(paths, base, out, _SUFFIX)

    def write(self, source: Path, pages: Iterator[ReadPage]) -> Iterator[ReadPage]:
        """Yield the pages of an input, each when its picture is written.

        Raises:
            UsageError: It cannot be written.
        """
        for page in pages:
            if page.open_picture is not None:
                out = io.BytesIO()
                image = annotate_picture(page.open_picture().pixels, page.reading)
                image.save(out, "JPEG", quality=_QUALITY)
                write_atomic(self._name_page(source, page.reading.page), out.getvalue(), UsageError)
            yield page

    def name_picture(self, source: Path) -> Path:
        """Return where the picture of an input's first page is written."""
        return self._targets[source]

    def _name_page(self, source: Path, number: int) -> Path:
        target = self._targets[source]
        return target if number == 1 else target.with_name(f"{target.stem}.page-{number}{_SUFFIX}")
