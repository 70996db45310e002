"""Pictures on their way to a folder: PNG and SVG of each figure, whole or not at all."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nhin.cli.output import write_atomic
from nhin.errors import NhinError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figures(out: Path, names: Sequence[str], draw: "Callable[[str], Figure]", suffix: str = "") -> int:
    """Draw each and write both files of it; one that cannot be drawn does not stop the others."""
    from nhin.viz.plots import encode_figure

    worst = 0
    for name in names:
        try:
            figure = draw(name)
            pictures = {form: encode_figure(figure, form) for form in ("png", "svg")}
        except NhinError as why:
            if len(names) == 1:
                raise
            sys.stderr.write(f"nhin: {name}: {' '.join(str(why).split())}\n")
            worst = max(worst, why.exit_code)
            continue
        for form, data in pictures.items():
            write_file(out / f"{name}{suffix}.{form}", data)
    return worst


def write_file(path: Path, data: bytes) -> None:
    """Write a file into a folder that is made when missing, and say where it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    except OSError as why:
        raise UsageError(f"{path} cannot be written: {why.strerror or why}") from why
    sys.stdout.write(f"{path}\n")
    sys.stdout.flush()
