"""A torch recognizer with the interface of exported weights, in float32 on the CPU."""

import numpy as np
import torch
from numpy.typing import NDArray

from nhin.models.recognizer import RecognizerNet


class TorchModel:
    """Runs a ``RecognizerNet``, in evaluation mode and float32, as an ``EncoderDecoder``."""

    def __init__(self, model: RecognizerNet) -> None:
        self.model = model.eval().float()

    @torch.inference_mode()
    def encode(self, pictures: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return memory and CTC log-probabilities."""
        memory, logits = self.model.encode(torch.from_numpy(pictures))
        return memory.numpy(), logits.log_softmax(-1).numpy()

    @torch.inference_mode()
    def decode(self, memory: NDArray[np.float32], tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits of the token after each token."""
        return self.model.decode(torch.from_numpy(memory), torch.from_numpy(tokens)).numpy()
