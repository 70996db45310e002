"""nhin as a plug-in of OCRmyPDF: ``ocrmypdf --plugin nhin``, or ``--ocr-engine nhin`` by an entry point.

The functions are hooks of the package itself (``nhin.__dir__``), since OCRmyPDF looks for them in the module
that ``--plugin`` names. ``NamedEngine`` is what it finds wherever nhin is installed: without the option it
changes nothing.
"""

from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocrmypdf import hookimpl  # pyright: ignore[reportMissingImports]

if TYPE_CHECKING:
    from nhin.reading.ocrmypdf_engine import NhinOcrEngine

NAME = "nhin"


@hookimpl
def add_options(parser: ArgumentParser) -> None:
    """Let ``--ocr-engine`` name nhin."""
    for action in parser._actions:  # argparse has no other way to an option of another program
        if "--ocr-engine" in action.option_strings and NAME not in (action.choices or ()):
            action.choices = [*(action.choices or ()), NAME]


@hookimpl
def get_ocr_engine(options: Any) -> "NhinOcrEngine | None":
    """Return the engine, unless another one is asked for by its name."""
    return _make_engine() if getattr(options, "ocr_engine", "auto") in ("auto", NAME) else None


@hookimpl
def rasterize_pdf_page(
    input_file: Path,
    output_file: Path,
    raster_device: str,
    raster_dpi: Any,
    pageno: int,
    rotation: int | None,
    options: Any,
) -> Path | None:
    """Write the picture of a page that consists of one; return None where OCRmyPDF has to draw the page."""
    if rotation or not raster_device.startswith("png") or getattr(options, "rasterizer", "") != "auto":
        return None
    # The picture is for nhin alone; where other programs get it, or the new PDF does, OCRmyPDF draws it.
    is_read_only = options.lossless_reconstruction and not options.clean
    if not is_read_only or options.ocr_engine not in ("auto", NAME):
        return None
    from nhin.reading.ocrmypdf_scan import write_scan

    return output_file if write_scan(input_file, pageno, raster_dpi.x, output_file) else None


class NamedEngine:
    """The hooks of the entry point: the engine only where ``--ocr-engine nhin`` asks for it."""

    add_options = staticmethod(add_options)

    @staticmethod
    @hookimpl
    def get_ocr_engine(options: Any) -> "NhinOcrEngine | None":
        """Return the engine if it is asked for by its name."""
        return _make_engine() if getattr(options, "ocr_engine", "auto") == NAME else None

    @staticmethod
    @hookimpl
    def rasterize_pdf_page(
        input_file: Path,
        output_file: Path,
        raster_device: str,
        raster_dpi: Any,
        pageno: int,
        rotation: int | None,
        options: Any,
    ) -> Path | None:
        """Write the picture of a page if the engine is asked for by its name."""
        if getattr(options, "ocr_engine", "auto") != NAME:
            return None
        return rasterize_pdf_page(
            input_file, output_file, raster_device, raster_dpi, pageno, rotation, options
        )


def _make_engine() -> "NhinOcrEngine":
    from nhin.reading.ocrmypdf_engine import NhinOcrEngine

    return NhinOcrEngine()
