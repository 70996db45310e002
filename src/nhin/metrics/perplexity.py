r"""Perplexity and related costs of a language model.

With c the cost of a token, -log of its probability, summed over a text:

.. math::
    \text{nats} = \frac{\sum c}{\text{tokens}}, \qquad
    \text{perplexity} = e^{\text{nats}}, \qquad
    \text{bits per byte} = \frac{\sum c}{\text{bytes} \cdot \ln 2}

Costs per token compare models with the same tokenizer only; per character or byte of UTF-8, with any.
"""

import math
from dataclasses import dataclass

from nhin.metrics.statistics import ratio

FIGURES = ("nats", "bits_per_byte", "perplexity", "nats_per_character")


@dataclass(frozen=True, slots=True)
class TextCost:
    """The cost of a text in nats, and its size."""

    total: float
    tokens: int
    characters: int
    bytes: int

    @property
    def nats(self) -> float:
        """The mean cost of a token."""
        return ratio(self.total, self.tokens)

    @property
    def nats_per_character(self) -> float:
        """The mean cost of a character."""
        return ratio(self.total, self.characters)

    @property
    def bits_per_byte(self) -> float:
        """The mean cost of a byte of UTF-8, in bits."""
        return ratio(self.total / math.log(2), self.bytes)

    @property
    def perplexity(self) -> float:
        """The number of equally likely tokens that cost as much; may be infinite."""
        try:
            return math.exp(self.nats)
        except OverflowError:
            return math.inf

    def figures(self) -> dict[str, float]:
        """Return the ``FIGURES``; a ratio over 0 is 0."""
        return {name: getattr(self, name) for name in FIGURES}
