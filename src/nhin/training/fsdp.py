"""Weights whose rows are spread over processes, by PyTorch's FSDP2.

It is imported where weights are sharded: that takes a second, as long as the rest of PyTorch nearly.
"""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

from torch import Tensor, nn

from nhin.errors import UsageError
from nhin.training.distributed import broadcast_tensors

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def shard_model(model: nn.Module, blocks: nn.ModuleList, world: int) -> None:
    """Shard a model over all processes, block by block; all take the weights of the first.

    Raises:
        UsageError: A parameter is a single number, which cannot be shared out.
    """
    for name, parameter in model.named_parameters():
        if not parameter.ndim:
            raise UsageError(f"fsdp cannot shard {name}, a single number; use parallel='ddp'")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    broadcast_tensors(model.state_dict().values(), world)
    mesh = init_device_mesh(next(model.parameters()).device.type, (world,))
    for module in (*blocks, model):
        fully_shard(module, mesh=mesh)


def is_sharded(model: nn.Module) -> bool:
    """Return whether the weights are sharded."""
    return any(is_dtensor(p) for p in model.parameters())


def is_dtensor(x: Tensor) -> "TypeGuard[DTensor]":
    """Return whether a tensor is spread over processes."""
    module = sys.modules.get("torch.distributed.tensor")  # without it there are none
    return module is not None and isinstance(x, module.DTensor)


def local_rows(tensors: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """Return this process's rows of sharded tensors, and in the first process the unsharded ones."""
    return {
        name: x.to_local() if is_dtensor(x) else x
        for name, x in tensors.items()
        if rank == 0 or is_dtensor(x)
    }


def shard_like(x: Tensor, like: Tensor) -> Tensor:
    """Shard a full tensor as ``like`` is, if both have the same shape."""
    if not is_dtensor(like) or x.shape != like.shape:
        return x
    from torch.distributed.tensor import distribute_tensor

    x = x.to(like.device)
    return distribute_tensor(x, like.device_mesh, like.placements, src_data_rank=None)


def full_tensor(x: Tensor) -> Tensor:
    """Return a tensor with its rows from all processes."""
    return x.full_tensor() if is_dtensor(x) else x
