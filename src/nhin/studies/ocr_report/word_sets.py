"""The words that the report is about: VinText's training and test words, in the layouts that users have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nhin.data.images.datasets import Crop, open_crops
from nhin.data.images.vintext import SPLITS
from nhin.errors import DataError
from nhin.text.charset import Charset

HELD_OUT = 0.05
"""Share of the training words, the last ones, that are kept for validation."""
MIN_WORDS = 20
TEST, UNSEEN = "test", "unseen test"
_NAMES = {
    "train": (SPLITS[0], "train.zip", "train"),
    TEST: (SPLITS[1], "test.zip", "test"),
    UNSEEN: (SPLITS[2], "unseen_test.zip", "unseen_test"),
}


@dataclass(frozen=True, slots=True)
class WordSets:
    """Words to train on, to validate on and to test on.

    ``path`` is where the first two come from. The vocabulary is that of the words to train on.
    """

    path: Path
    train: tuple[Crop, ...]
    validation: tuple[Crop, ...]
    tests: Mapping[str, tuple[Crop, ...]]

    @property
    def charset(self) -> Charset:
        """The characters of the words to train on."""
        return Charset("".join(sorted({char for crop in self.train for char in crop.text})))


def open_word_sets(data: Path, limit: int | None = None) -> WordSets:
    """Open a copy of VinText.

    Args:
        data: VinAI's folder; or a folder that holds ``train`` and ``test``, each a zip or a folder of labeled
            crops; or one set of labeled crops to train on, without a test.
        limit: Take only so many words of each set: the first to train on, test words evenly.

    Raises:
        DataError: There is nothing, too little, or a damaged file.
    """
    found = {
        name: next((data / each for each in names if (data / each).exists()), None)
        for name, names in _NAMES.items()
    }
    path = found.pop("train") or data
    if path == data and any(found.values()):
        raise DataError(f"{data} has words to test on, but none of {', '.join(_NAMES['train'])}")
    words = open_crops(path)[:limit]
    if len(words) < MIN_WORDS:
        raise DataError(f"{path} has {len(words)} words; {MIN_WORDS} are the fewest to train on")
    count = max(1, round(HELD_OUT * len(words)))
    tests = {name: _thin_out(open_crops(each), limit) for name, each in found.items() if each is not None}
    return WordSets(path, words[:-count], words[-count:], tests)


def _thin_out(crops: Sequence[Crop], limit: int | None) -> tuple[Crop, ...]:
    """Return up to ``limit`` crops, taken evenly."""
    if limit is None or limit >= len(crops):
        return tuple(crops)
    return tuple(crops[i * len(crops) // limit] for i in range(limit))
