"""Every error nhin raises on purpose.

NhinError
├── UsageError       an argument or an option is invalid               (exit code 2)
├── RecipeError      a recipe file or override is invalid              (exit code 2)
├── UnknownName      a mechanism, model, setting or choice is unknown  (exit code 2)
├── PictureError     a picture is missing, torn, foreign or too large  (exit code 3)
├── DataError        a dataset or label file is missing or invalid     (exit code 3)
├── ShapeError       tensors do not fit together                       (exit code 3)
├── CheckpointError  a checkpoint or weights file is missing or torn   (exit code 4)
├── MissingExtra     an optional dependency is not installed           (exit code 4)
├── Diverged         a loss is NaN or infinite                         (exit code 5)
└── ProcessError     another process of a training has failed          (exit code 5)
"""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class NhinError(Exception):
    """Base class: catch this to catch everything nhin raises on purpose."""

    exit_code = 1


class UsageError(NhinError, ValueError):
    """An argument or an option is invalid."""

    exit_code = 2


class RecipeError(NhinError, ValueError):
    """A recipe file or an override is invalid."""

    exit_code = 2


class UnknownName(NhinError, KeyError):
    """A name is not in its table; the message offers similar ones."""

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        similar = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(similar)}?" if similar else f"known: {', '.join(known)}"
        self.message = f"no {kind} named {name!r}; {hint}"
        super().__init__(self.message)

    def __str__(self) -> str:
        """Return the message; KeyError would return its repr."""
        return self.message


class PictureError(NhinError, ValueError):
    """A picture is missing, torn, not a picture, or too large."""

    exit_code = 3


class DataError(NhinError, ValueError):
    """A dataset or a label file is missing or invalid."""

    exit_code = 3


class ShapeError(NhinError, ValueError):
    """The shapes of tensors do not match, or a size is out of range."""

    exit_code = 3


class CheckpointError(NhinError, ValueError):
    """A checkpoint or a weights file is missing, torn or of another program."""

    exit_code = 4


class MissingExtra(NhinError, ImportError):
    """An optional dependency is not installed; the message says how to install it."""

    exit_code = 4


def explain_install(extra: str = "torch") -> str:
    """Return the command that installs an extra from where nhin itself came, which is no package index."""
    import shlex
    from importlib.metadata import PackageNotFoundError, version

    clone = Path(__file__).resolve().parents[2]
    if (clone / "pyproject.toml").is_file():
        return f"pip install -e {shlex.quote(f'{clone}[{extra}]')}"
    try:
        wheel = f"nhin-{version('nhin')}-py3-none-any.whl"
    except PackageNotFoundError:
        wheel = "nhin.whl"
    return f"install the wheel again, with the extra: pip install './{wheel}[{extra}]'"


class Diverged(NhinError, ArithmeticError):
    """A loss is NaN or infinite."""

    exit_code = 5


class ProcessError(NhinError, RuntimeError):
    """Another process of a training has failed; where ``is_reported``, it has said why itself."""

    exit_code = 5

    def __init__(self, message: str, exit_code: int = 5, is_reported: bool = False) -> None:
        super().__init__(message)
        self.exit_code, self.is_reported = exit_code, is_reported
