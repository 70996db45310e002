"""A torch reader behind the same two functions as exported weights, in float32 on the processor."""

import numpy as np
import torch
from numpy.typing import NDArray

from nhin.models.recognizer import RecognizerNet


class TorchModel:
    """Runs a ``Reader`` from arrays to arrays; keeps the ``Pair`` protocol."""

    def __init__(self, model: RecognizerNet) -> None:
        """Take a model over: it is put in evaluation mode and float32."""
        self.model = model.eval().float()

    @torch.inference_mode()
    def encode(self, pictures: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return memory and CTC log-probabilities."""
        memory, scores = self.model.encode(torch.from_numpy(pictures))
        return memory.numpy(), scores.log_softmax(-1).numpy()

    @torch.inference_mode()
    def decode(self, memory: NDArray[np.float32], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits of what follows each token."""
        return self.model.decode(torch.from_numpy(memory), torch.from_numpy(tokens)).numpy()
