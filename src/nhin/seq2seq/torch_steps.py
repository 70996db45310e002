"""The network of a run as a ``StepModel``."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nhin.data.pairs.batches import IdRows
from nhin.models.seq2seq.memory import DecoderState, Memory
from nhin.models.seq2seq.network import Seq2Seq
from nhin.seq2seq.steps import NextLogits

TorchState = tuple[Memory, DecoderState]


@dataclass(frozen=True, slots=True)
class TorchSteps:
    """Takes steps with a network in evaluation mode."""

    model: Seq2Seq

    @torch.inference_mode()
    def start(self, source: IdRows) -> TorchState:
        """Encode sources; see ``StepModel``."""
        memory = self.model.encode(torch.from_numpy(source))
        return memory, self.model.start(memory)

    @torch.inference_mode()
    def step(self, tokens: NDArray[np.int64], state: TorchState) -> tuple[NextLogits, TorchState]:
        """Append a token to each row; see ``StepModel``."""
        memory, before = state
        logits, _, after = self.model.decode(torch.from_numpy(tokens)[:, None], memory, before)
        return logits[:, 0].float().numpy(), (memory, after)
