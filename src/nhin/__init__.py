"""nhin: Vietnamese text recognition, attention mechanisms and small language models.

Public names import their modules at first use; ``import nhin`` itself imports nothing.
"""

import sys
from typing import TYPE_CHECKING, Any

from nhin.version import __version__

if TYPE_CHECKING:
    from nhin.errors import NhinError
    from nhin.reading.reader import Reader, read
    from nhin.reading.reading import Document, Reading
    from nhin.reading.result import Char, Line
    from nhin.text.numbers import number_words, parse_number_words

__all__ = [
    "Char",
    "Document",
    "Line",
    "NhinError",
    "Reader",
    "Reading",
    "__version__",
    "number_words",
    "parse_number_words",
    "read",
]

_MODULES = {
    "Char": "nhin.reading.result",
    "Document": "nhin.reading.reading",
    "Line": "nhin.reading.result",
    "NhinError": "nhin.errors",
    "Reader": "nhin.reading.reader",
    "Reading": "nhin.reading.reading",
    "number_words": "nhin.text.numbers",
    "parse_number_words": "nhin.text.numbers",
    "read": "nhin.reading.reader",
}
_HOOKS = {
    "add_options": "nhin.reading.ocrmypdf_plugin",
    "get_ocr_engine": "nhin.reading.ocrmypdf_plugin",
    "rasterize_pdf_page": "nhin.reading.ocrmypdf_plugin",
}
"""What ``ocrmypdf --plugin nhin`` looks for in this module."""


def __getattr__(name: str) -> Any:
    """Import a public name at first use (PEP 562)."""
    module = _MODULES.get(name) or _HOOKS.get(name)
    if module is None:
        raise AttributeError(f"module 'nhin' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    if "ocrmypdf" in sys.modules:  # it takes the hooks that are there after it asked for the names
        for name in _HOOKS:
            __getattr__(name)
    return sorted({*globals(), *__all__})
