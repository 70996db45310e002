"""The settings of an encoder-decoder model."""

from dataclasses import dataclass
from typing import Annotated, Literal

from nhin.errors import UsageError
from nhin.ranges import Range

Score = Literal["additive", "dot", "general", "concat", "location"]


@dataclass(frozen=True, slots=True)
class Seq2SeqConfig:
    """The settings of ``Seq2Seq``.

    ``decoder`` fixed hands the last state of the encoder to every step; bahdanau attends with the state
    before the step, luong with the state after it; transformer has Transformer blocks on both sides.
    ``directions`` is 1 or 2, of the encoder. ``score`` (when None additive for bahdanau and general for
    luong) and ``alignment`` say what is attended to; ``reach`` is the D of local-m and local-p. With
    ``input_feeding`` the attentional state of a step is an input of the next. ``heads`` and ``mlp_ratio`` are
    of the Transformer, whose size then comes near that of the others. ``context`` is the longest source that
    the score location knows.
    """

    decoder: Literal["fixed", "bahdanau", "luong", "transformer"] = "bahdanau"
    cell: Literal["rnn", "lstm", "gru"] = "gru"
    directions: Annotated[int, Range(1, 2)] = 2
    depth: Annotated[int, Range(1, 64)] = 1
    dim: Annotated[int, Range(2, 2**13)] = 128
    score: Score | None = None
    alignment: Literal["global", "local-m", "local-p"] = "global"
    reach: Annotated[int, Range(1, 2**12)] = 10
    input_feeding: bool = False
    heads: Annotated[int, Range(1, 256)] = 4
    mlp_ratio: Annotated[int, Range(1, 64)] = 2
    dropout: Annotated[float, Range(0, below=1)] = 0.0
    context: Annotated[int, Range(1, 2**14)] = 512

    def check(self) -> None:
        """Refuse settings that contradict each other, or have no effect.

        Raises:
            UsageError: The message names them.
        """
        if self.dim % (2 * self.heads if self.decoder == "transformer" else 2):
            raise UsageError(f"dim is {self.dim}; give a multiple of two, and of two times the heads")
        if self.decoder in ("fixed", "transformer"):
            given = {"score": self.score is not None, "alignment": self.alignment != "global"}
            for name in (name for name, is_given in given.items() if is_given):
                raise UsageError(f"{name} is for decoders bahdanau and luong; {self.decoder} has none")
        if self.input_feeding and self.decoder != "luong":
            raise UsageError(f"input_feeding is for the decoder luong, not for {self.decoder}")

    @property
    def resolved_score(self) -> Score:
        """The score, by default that of the decoder's paper."""
        return self.score or ("additive" if self.decoder == "bahdanau" else "general")
