"""What the encoder hands to the decoder, and what the decoder hands to its next step."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Bool, Float, Int
from torch import Tensor

Hidden = Float[Tensor, "B T C"]
Inputs = Float[Tensor, "B T inputs"]
Alignment = Float[Tensor, "B T S"]
Vector = Float[Tensor, "B C"]
Carried = Float[Tensor, "layers B C"]


@dataclass(frozen=True, slots=True)
class Memory:
    """An encoded source: its states, which of them are no padding, and the last state of every layer."""

    states: Float[Tensor, "B S C"]
    keep: Bool[Tensor, "B S"]
    last: tuple[Carried, ...]

    def select(self, rows: Int[Tensor, " rows"]) -> "Memory":
        """Return the memory of some rows."""
        return Memory(self.states[rows], self.keep[rows], tuple(x[:, rows] for x in self.last))


@dataclass(frozen=True, slots=True)
class DecoderState:
    """What a decoder carries from step to step.

    Args:
        carried: The states of a recurrent decoder's layers: h, and c of an LSTM.
        feed: The attentional state that is an input of the next step; None where there is none.
        past: The embedded tokens before, of a Transformer.
        step: The number of tokens before.
    """

    carried: tuple[Carried, ...] = ()
    feed: Vector | None = None
    past: Hidden | None = None
    step: int = 0

    def select(self, rows: Int[Tensor, " rows"]) -> "DecoderState":
        """Return the state of some rows."""
        carried = tuple(x[:, rows] for x in self.carried)
        pick: Callable[[Tensor | None], Tensor | None] = lambda x: None if x is None else x[rows]  # noqa: E731
        return replace(self, carried=carried, feed=pick(self.feed), past=pick(self.past))
