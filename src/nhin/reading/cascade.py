"""Read the lines of a page with a small network, and those in doubt again with a large one."""

from collections.abc import Callable, Sequence

from nhin.image.preprocess import Pixels
from nhin.reading.result import Recognition
from nhin.reading.rotation import mean_confidence

ReadCrops = Callable[[Sequence[Pixels]], list[Recognition]]
"""Reads crops (height x width x 3, RGB, or height x width); see ``Recognizer.read``."""

DOUBT, SHORT_DOUBT = 0.5, 0.9
"""Confidences of a line, and of one of at most ``SHORT`` characters, below which it is read again: a small
network invents a letter or two more easily than a line."""
SHORT = 3
MAX_DOUBTFUL = 300
"""Lines of a page that are read again at most, the longest ones: the time that a picture takes is bounded."""
SURE = 0.98
"""Mean confidence of its characters from which it is not: in a long line one of them is always in doubt."""


class CascadeRecognizer:
    """Reads crops with one network, and those in doubt with another.

    Args:
        small: Reads every crop.
        large: Reads those in doubt again.
    """

    def __init__(self, small: ReadCrops, large: ReadCrops) -> None:
        self.small, self.large = small, large

    def read(self, crops: Sequence[Pixels]) -> list[Recognition]:
        """Return one answer per crop."""
        recognitions = self.small(crops)
        doubtful = [i for i, first in enumerate(recognitions) if _is_doubtful(first)]
        doubtful = sorted(doubtful, key=lambda i: -len(recognitions[i].text))[:MAX_DOUBTFUL]
        if doubtful:
            for i, second in zip(doubtful, self.large([crops[i] for i in doubtful]), strict=True):
                recognitions[i] = second
        return recognitions


def _is_doubtful(first: Recognition) -> bool:
    if len(first.text) <= SHORT:
        return first.confidence < SHORT_DOUBT
    return first.confidence < DOUBT and mean_confidence(first) < SURE
