"""A recogniser network as decoding sees it: two functions over arrays, whatever runs them."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


@runtime_checkable
class EncoderDecoder(Protocol):
    """An encoder with its CTC head, and the decoder that looks at what the encoder saw."""

    def encode(self, pictures: Floats) -> tuple[Floats, Floats]:
        """Look at pictures.

        Args:
            pictures: batch x 1 x height x width, in [-1, 1].

        Returns:
            The memory, batch x places x dim, and the CTC log-probabilities, batch x frames x vocab,
            where frames run from left to right over the width.
        """
        ...

    def decode(self, memory: Floats, tokens: Ids) -> Floats:
        """Say what follows every prefix.

        Args:
            memory: batch x places x dim, from ``encode``.
            tokens: batch x length, beginning with SOS; a row may end in any filling.

        Returns:
            Logits, batch x length x vocab; entry ``t`` depends on the tokens up to ``t`` only.
        """
        ...
