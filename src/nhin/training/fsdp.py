"""Weights whose rows are spread over processes, by PyTorch's FSDP2."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard_model(model: nn.Module, blocks: nn.ModuleList, world: int) -> None:
    """Shard a model over all processes, block by block; all must hold the same weights."""
    mesh = init_device_mesh(next(model.parameters()).device.type, (world,))
    for module in (*blocks, model):
        fully_shard(module, mesh=mesh)


def is_sharded(model: nn.Module) -> bool:
    """Return whether the weights are sharded."""
    return any(isinstance(p, DTensor) for p in model.parameters())


def local_rows(tensors: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """Return this process's rows of sharded tensors, and in the first process the unsharded ones."""
    return {
        name: x.to_local() if isinstance(x, DTensor) else x
        for name, x in tensors.items()
        if rank == 0 or isinstance(x, DTensor)
    }


def shard_like(x: Tensor, like: Tensor) -> Tensor:
    """Shard a full tensor as ``like`` is, if both have the same shape."""
    if not isinstance(like, DTensor) or x.shape != like.shape:
        return x
    x = x.to(like.device)
    return distribute_tensor(x, like.device_mesh, like.placements, src_data_rank=None)


def full_tensor(x: Tensor) -> Tensor:
    """Return a tensor with its rows from all processes."""
    return x.full_tensor() if isinstance(x, DTensor) else x
