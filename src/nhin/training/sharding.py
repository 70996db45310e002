"""Tensors whose rows lie with several processes, as PyTorch's FSDP2 holds weights."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(model: nn.Module, blocks: nn.ModuleList, world: int) -> None:
    """Share a model's weights out to all processes, block by block; every process must hold the same."""
    device = next(model.parameters()).device.type
    mesh = init_device_mesh(device, (world,))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def rows(tensors: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """Return this process's rows of sharded tensors; what is whole belongs to the first process."""
    return {
        name: x.to_local() if isinstance(x, DTensor) else x
        for name, x in tensors.items()
        if rank == 0 or isinstance(x, DTensor)
    }


def placed(x: Tensor, like: Tensor) -> Tensor:
    """Shard a whole tensor as another of its shape is."""
    if not isinstance(like, DTensor) or x.shape != like.shape:
        return x
    x = x.to(like.device)
    return distribute_tensor(x, like.device_mesh, like.placements, src_data_rank=None)


def whole(x: Tensor) -> Tensor:
    """Return a tensor with the rows of all processes."""
    return x.full_tensor() if isinstance(x, DTensor) else x
