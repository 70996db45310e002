"""Export the line detector to one ONNX file, accepted only if it finds what torch finds.

Pixels go in as they are; probabilities come out. Batch norms are folded into the convolutions; weights are
stored in half precision, arithmetic stays in single precision.
"""

import copy
import io
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nhin.errors import CheckpointError, MissingExtra, explain_install
from nhin.files import write_atomic
from nhin.models.detector import DetectorNet

TOLERANCE = 2e-2
"""Largest difference of a probability."""
_MIN_HALF_SIZE = 256


class PixelsToMaps(nn.Module):
    """The network from pixels to probabilities, batch norms folded, weights rounded to half precision."""

    def __init__(self, model: DetectorNet) -> None:
        super().__init__()
        self.net = _fold(model.eval())
        for weight in self.net.parameters():
            if weight.numel() >= _MIN_HALF_SIZE:
                weight.data = weight.data.half().float()

    def forward(
        self, pixels: UInt8[Tensor, "height width 3"]
    ) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, "4 rows columns"]]:
        """Return the cores and the fields of a picture whose sides are multiples of 32."""
        pictures = pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
        logits, fields = self.net(pictures)
        return logits[0, 0].sigmoid(), torch.cat([fields[0, :3], fields[0, 3:].sigmoid()])


def _fold(model: nn.Module) -> nn.Module:
    """Fold each batch norm into the convolution before it."""
    model = copy.deepcopy(model)
    for parent in model.modules():
        names = list(parent._modules)
        for first, second in pairwise(names):
            conv, norm = parent._modules[first], parent._modules[second]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                parent._modules[first] = fuse_conv_bn_eval(conv, norm)
                parent._modules[second] = nn.Identity()
    return model


def export_detector(model: DetectorNet, out: Path) -> int:
    """Write the ONNX file and return its size in bytes.

    Raises:
        CheckpointError: ONNX Runtime does not find what torch finds.
        MissingExtra: The package onnx is missing.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as why:
        raise MissingExtra(f"exporting needs onnx: {explain_install()}") from why
    import onnxruntime

    maps = PixelsToMaps(model).eval()
    example = torch.zeros(64, 96, 3, dtype=torch.uint8)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            maps,
            (example,),
            buffer,  # pyright: ignore[reportArgumentType] - it takes files too
            dynamo=False,
            input_names=["pixels"],
            output_names=["cores", "fields"],
            dynamic_axes={"pixels": {0: "height", 1: "width"}},
        )
    graph = onnx.load_from_string(buffer.getvalue())
    _store_half(graph, onnx, numpy_helper)
    data = graph.SerializeToString()
    session = onnxruntime.InferenceSession(data)
    picture = np.random.default_rng(0).integers(0, 256, (128, 160, 3)).astype(np.uint8)
    with torch.no_grad():
        wanted = maps(torch.from_numpy(picture))
    found = session.run(None, {"pixels": picture})
    for ours, theirs in zip(wanted, found, strict=True):
        difference = float(np.abs(ours.numpy() - np.asarray(theirs)).max())
        if not difference <= TOLERANCE:
            raise CheckpointError(f"the exported detector differs by {difference:.3g} from the checkpoint")
    write_atomic(out, data)
    return len(data)


def _store_half(graph, onnx, numpy_helper) -> None:
    """Store large weights in half precision, each behind a cast to single precision."""
    casts = []
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _MIN_HALF_SIZE:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
