"""Sources of samples that cost nothing."""

import time
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sample:
    picture: np.ndarray
    text: str


@dataclass(frozen=True)
class Fake:
    """Noise of many widths; the text says which sample it is."""

    seed: int = 0
    widest: int = 200
    delay: float = 0.0

    def sample(self, index: int) -> Sample:
        time.sleep(self.delay)
        rng = np.random.default_rng([self.seed, index])
        width = int(rng.integers(20, self.widest))
        return Sample(rng.integers(0, 255, (40, width, 3), dtype=np.uint8), f"số {index}")


class Nameless:
    """A source without a fingerprint or a stable repr."""

    def sample(self, index: int) -> Sample:
        return Fake().sample(index)


class Broken:
    """A source that fails."""

    fingerprint = "broken"

    def sample(self, index: int) -> Sample:
        raise ValueError(f"sample {index} cannot be drawn")
