"""nhin: read Vietnamese text in pictures, and look inside attention.

The names below load what they need when first used; importing nhin itself loads nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nhin.errors import NhinError
    from nhin.reading.reader import Reader, read
    from nhin.reading.types import Char, Line, Reading

__version__ = "0.1.0"
__all__ = ["Char", "Line", "NhinError", "Reader", "Reading", "__version__", "read"]

_HOMES = {
    "Char": "nhin.reading.types",
    "Line": "nhin.reading.types",
    "NhinError": "nhin.errors",
    "Reader": "nhin.reading.reader",
    "Reading": "nhin.reading.types",
    "read": "nhin.reading.reader",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its home at first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nhin' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
