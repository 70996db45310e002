"""Every error nhin raises on purpose.

NhinError
├── UsageError       an argument or an option makes no sense           (exit code 2)
├── RecipeError      a recipe file or override is wrong                (exit code 2)
├── UnknownName      a mechanism, model, backbone or weights not known (exit code 2)
├── PictureError     a picture is missing, torn, foreign or too large  (exit code 3)
├── DataError        a data set or label file is missing or wrong      (exit code 3)
├── ShapeError       tensors do not fit together                       (exit code 3)
├── CheckpointError  a checkpoint or weights file is missing or torn   (exit code 4)
├── MissingExtra     a part of nhin that is not installed was asked for (exit code 4)
└── Diverged         a loss stopped being a number                     (exit code 5)
"""

from collections.abc import Iterable
from difflib import get_close_matches


class NhinError(Exception):
    """Base class: catch this to catch everything nhin raises on purpose."""

    exit_code = 1


class UsageError(NhinError, ValueError):
    """An argument or an option makes no sense."""

    exit_code = 2


class RecipeError(NhinError, ValueError):
    """A recipe file or an override of it is wrong."""

    exit_code = 2


class UnknownName(NhinError, KeyError):
    """A name is not in its table; the message offers the nearest ones."""

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        self.message = f"no {kind} named {name!r}; {hint}"
        super().__init__(self.message)

    def __str__(self) -> str:
        """Return the sentence itself; KeyError would print its repr."""
        return self.message


class PictureError(NhinError, ValueError):
    """A picture is missing, torn, not a picture, or larger than is safe to open."""

    exit_code = 3


class DataError(NhinError, ValueError):
    """A data set or a label file is missing or wrong."""

    exit_code = 3


class ShapeError(NhinError, ValueError):
    """Tensors do not fit together; the message names the axis and both sizes."""

    exit_code = 3


class CheckpointError(NhinError, ValueError):
    """A checkpoint or a weights file is missing, torn or foreign."""

    exit_code = 4


class MissingExtra(NhinError, ImportError):
    """A part of nhin was asked for that is not installed; the message says how to get it."""

    exit_code = 4


class Diverged(NhinError, ArithmeticError):
    """A loss stopped being a number."""

    exit_code = 5
