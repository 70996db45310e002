"""nhin as a plug-in of OCRmyPDF: ``ocrmypdf --plugin nhin``, or ``--ocr-engine nhin`` by an entry point.

The functions are hooks of the package itself (``nhin.__dir__``), since OCRmyPDF looks for them in the module
that ``--plugin`` names. ``NamedEngine`` is what it finds wherever nhin is installed: without the option it
changes nothing.
"""

from argparse import ArgumentParser
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


class NamedEngine:
    """The hooks of the entry point: the engine only where ``--ocr-engine nhin`` asks for it."""

    add_options = staticmethod(add_options)

    @staticmethod
    @hookimpl
    def get_ocr_engine(options: Any) -> "NhinOcrEngine | None":
        """Return the engine if it is asked for by its name."""
        return _make_engine() if getattr(options, "ocr_engine", "auto") == NAME else None


def _make_engine() -> "NhinOcrEngine":
    from nhin.reading.ocrmypdf_engine import NhinOcrEngine

    return NhinOcrEngine()
