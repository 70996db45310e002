"""A recognition network as decoding uses it: two functions on arrays, run by ONNX Runtime or torch."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nhin.text.charset import EOS, PAD, SOS, UNK

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Decode = Callable[[Floats, Ids], Floats]
"""``EncoderDecoder.decode``."""


@runtime_checkable
class EncoderDecoder(Protocol):
    """An encoder with a CTC head, and a decoder that attends to the encoder's output."""

    def encode(self, pictures: Floats) -> tuple[Floats, Floats]:
        """Encode pictures.

        Args:
            pictures: batch x 1 x height x width, in [-1, 1].

        Returns:
            The memory, batch x positions x dim, and the CTC log-probabilities, batch x frames x vocab,
            with frames from left to right over the width.
        """
        ...

    def decode(self, memory: Floats, tokens: Ids) -> Floats:
        """Predict the token after every prefix.

        Args:
            memory: batch x positions x dim, from ``encode``.
            tokens: batch x length, from SOS on; rows may be padded at the end with any ids.

        Returns:
            Logits, batch x length x vocab; position ``t`` depends on the tokens up to ``t`` only.
        """
        ...


def mask_specials(logits: NDArray[np.floating], allowed: int) -> NDArray[np.float64]:
    """Return a float64 copy (any shape x vocab) with every special token but ``allowed`` at -inf."""
    out = np.array(logits, dtype=np.float64)
    out[..., [i for i in (PAD, SOS, EOS, UNK) if i != allowed]] = -np.inf
    return out
