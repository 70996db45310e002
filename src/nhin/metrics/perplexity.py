r"""What the costs of a language model amount to, per token, per character and per byte.

With c the cost of a token, -log of the chance it was given, summed over a text:

.. math::
    \text{nats} = \frac{\sum c}{\text{tokens}}, \qquad
    \text{perplexity} = e^{\text{nats}}, \qquad
    \text{bits per byte} = \frac{\sum c}{\text{bytes} \cdot \ln 2}

Per token, models are comparable under one tokenizer only; per character or per byte of UTF-8 under any.
"""

import math
from dataclasses import dataclass

FIGURES = ("nats", "bits_per_byte", "perplexity", "nats_per_character")


@dataclass(frozen=True, slots=True)
class TextCost:
    """What a text cost: nats of all its tokens together, and how much text they stand for."""

    total: float
    tokens: int
    characters: int
    bytes: int

    @property
    def nats(self) -> float:
        """The mean cost of a token."""
        return _ratio(self.total, self.tokens)

    @property
    def nats_per_character(self) -> float:
        """The mean cost of a character."""
        return _ratio(self.total, self.characters)

    @property
    def bits_per_byte(self) -> float:
        """The mean cost of a byte of UTF-8, in bits."""
        return _ratio(self.total / math.log(2), self.bytes)

    @property
    def perplexity(self) -> float:
        """Among how many equally likely tokens one would be as unsure; may be infinite."""
        try:
            return math.exp(self.nats)
        except OverflowError:
            return math.inf

    def figures(self) -> dict[str, float]:
        """Return the ``FIGURES``; a rate over nothing is 0."""
        return {name: getattr(self, name) for name in FIGURES}


def _ratio(top: float, low: int) -> float:
    return top / low if low else 0.0
