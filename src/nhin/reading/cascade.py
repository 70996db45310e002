"""Read the lines of a page with a small network, and those in doubt again with a large one."""

from collections.abc import Callable, Sequence

from nhin.image.preprocess import Pixels
from nhin.reading.result import Recognition

ReadCrops = Callable[[Sequence[Pixels]], list[Recognition]]
"""Reads crops (height x width x 3, RGB, or height x width); see ``Recognizer.read``."""

DOUBT = 0.75
"""Confidence of a line below which it is read again; benchmarks/pages.py has what that costs and gains."""


class CascadeRecognizer:
    """Reads crops with one network, and those in doubt with another.

    Args:
        small: Reads every crop.
        large: Reads those again whose confidence is below ``doubt``.
        doubt: 0 to 1; the confidences of both are calibrated, so they can be compared.
    """

    def __init__(self, small: ReadCrops, large: ReadCrops, doubt: float = DOUBT) -> None:
        self.small, self.large, self.doubt = small, large, doubt

    def read(self, crops: Sequence[Pixels]) -> list[Recognition]:
        """Return one answer per crop."""
        recognitions = self.small(crops)
        doubtful = [i for i, first in enumerate(recognitions) if first.confidence < self.doubt]
        if doubtful:
            for i, second in zip(doubtful, self.large([crops[i] for i in doubtful]), strict=True):
                recognitions[i] = second
        return recognitions
