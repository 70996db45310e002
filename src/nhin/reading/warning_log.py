"""Collect what a reading lacks."""

from nhin.reading.result import WARNING_CODES, ReadingWarning


class WarningLog:
    """The warnings of one picture, which its ``name`` begins."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.warnings: tuple[ReadingWarning, ...] = ()

    def copy(self) -> "WarningLog":
        """Return a log with the same warnings."""
        other = WarningLog(self.name)
        other.warnings = self.warnings
        return other

    def add(self, code: str, text: str) -> None:
        """Add a warning: one of ``WARNING_CODES``, and what follows the name in its sentence."""
        assert code in WARNING_CODES
        self.warnings += (ReadingWarning(code, f"{self.name} {text}"),)


def count_lines(count: int) -> str:
    """Return a number of lines in words: ``1 line``, ``2 lines``."""
    return f"{count:,} line{'s' * (count != 1)}"
