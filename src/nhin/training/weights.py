"""The check of weights that come from a stranger's file."""

import torch

from nhin.errors import CheckpointError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], where: str) -> None:
    """Refuse weights that are missing, unknown, of another shape than the model's, or not finite.

    Raises:
        CheckpointError: The message names the first.
    """
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in weights:
            raise CheckpointError(f"{where} lacks the tensor {name}")
        if weights[name].shape != tensor.shape:
            raise CheckpointError(
                f"{where}: {name} has shape {tuple(weights[name].shape)}; "
                f"the recipe wants {tuple(tensor.shape)}"
            )
    for name, tensor in weights.items():
        if name not in expected:
            raise CheckpointError(f"{where} has a tensor {name}, which the recipe does not")
        if tensor.dtype not in FLOATS and expected[name].is_floating_point():
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(f"{where}: {name} is stored as {dtype}, not as floating-point numbers")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{where}: {name} holds NaN or infinity; resume from an earlier checkpoint")
