"""Open damaged weights folders of readers, and read one crop with each.

    python scripts/fuzz/weights.py --count 5000

Every mutant has hashes that agree with its files, but for a few, so that the damage is not found by them.
"""

import hashlib
import json
import os
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import onnx
from mutate import damage_bytes, damage_json
from onnx import TensorProto, helper
from runner import main

import nhin
from nhin.reading.onnx_model import DECODER, ENCODER, MANIFEST
from nhin.reading.reader import Reader

SHIPPED = Path(nhin.__file__).parent / "weights" / "default"
_NAMES = (ENCODER, DECODER)
_BIG = (0, 1, -1, 2, 7, 40, 255, 2**15, 2**20, 2**31 - 1, 2**31, 2**40, 2**62)
_OPS = "Add Mul MatMul Expand Tile Range ConstantOfShape Loop If Scan Concat Pad Resize Gather Xyz".split()


@cache
def read_shipped(name: str) -> bytes:
    """Return a file of the shipped weights."""
    return (SHIPPED / name).read_bytes()


@cache
def draw_crop() -> np.ndarray:
    """Draw a crop of two words: dark bars on white."""
    picture = np.full((40, 160, 3), 255, np.uint8)
    for left in (10, 22, 34, 90, 102, 121):
        picture[8:32, left : left + 5] = 0
    return picture


def make(random: Random, folder: Path) -> str:
    """Write one damaged folder."""
    parts = {name: read_shipped(name) for name in _NAMES}
    kind, what = (
        random.choice(("manifest", "bytes", "bytes", "field", "field", "field", "graph", "files")),
        "",
    )
    if kind == "bytes":
        name = random.choice(_NAMES)
        parts[name], what = damage_bytes(random, parts[name])
        what = f"{name}: {what}"
    elif kind in ("field", "graph"):
        name = random.choice(_NAMES)
        model = onnx.load_from_string(parts[name])
        what = damage_fields(random, model) if kind == "field" else add_nodes(random, model)
        parts[name], what = model.SerializeToString(), f"{name}: {what}"
    elif kind == "files":
        parts, what = exchange_files(random, parts)
    manifest = json.loads(read_shipped(MANIFEST))
    manifest["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    text = json.dumps(manifest)
    if kind == "manifest":
        text, what = damage_json(random, text)
        what = f"{MANIFEST}: {what}"
    (folder / MANIFEST).write_bytes(text.encode(errors="surrogatepass"))
    for name, data in parts.items():
        (folder / name).write_bytes(data)
    return what + replace_file(random, folder) if random.random() < 0.03 else what


def exchange_files(random: Random, parts: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    """Exchange the networks, or write one over the other, nothing, or its own twice."""
    kind = random.choice(("swap", "same", "empty", "twice", "zeros"))
    one, other = random.sample(_NAMES, 2)
    new = {"same": parts[other], "empty": b"", "twice": parts[one] * 2, "zeros": bytes(len(parts[one]))}
    if kind == "swap":
        return {one: parts[other], other: parts[one]}, kind
    return parts | {one: new[kind]}, f"{one} is {kind}"


def replace_file(random: Random, folder: Path) -> str:
    """Replace a file by something that is none."""
    path, kind = (
        folder / random.choice((*_NAMES, MANIFEST)),
        random.choice(("fifo", "folder", "link", "gone", "zero")),
    )
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "gone":
        path.symlink_to("/etc/passwd" if kind == "link" else "/dev/zero")
    return f"; {path.name} is {kind}"


def damage_fields(random: Random, model: onnx.ModelProto) -> str:
    """Change one field of a network."""
    graph = model.graph
    node, weight = random.choice(graph.node), random.choice(graph.initializer)
    end = random.choice([*graph.input, *graph.output])
    kind = random.choice(
        "op input output attribute dims type external end shape opset domain drop weight".split()
    )
    if kind == "op":
        node.op_type = random.choice(_OPS)
    elif kind in ("input", "output"):
        names = node.input if kind == "input" else node.output
        if names:
            names[random.randrange(len(names))] = random.choice([*graph.node]).output[0]
    elif kind == "attribute" and node.attribute:
        change_attribute(random, random.choice(node.attribute))
    elif kind == "dims":
        weight.dims[:] = [random.choice(_BIG) for _ in range(random.randrange(5))]
    elif kind == "type":
        weight.data_type = random.randrange(24)
    elif kind == "external":
        weight.data_location = TensorProto.EXTERNAL
        weight.ClearField("raw_data")
        location = random.choice(("../../etc/passwd", "/etc/passwd", "/dev/zero", "encoder.onnx"))
        weight.external_data.add(key="location", value=location)
    elif kind == "end":
        end.name = random.choice(("x", "", "pictures", "ctc", "é" * 5000))
    elif kind == "shape":
        end.type.tensor_type.elem_type = random.randrange(20)
    elif kind == "opset":
        model.opset_import[0].version = random.choice(_BIG[:8])
    else:
        damage_node(random, kind, node, graph)
    return kind


def damage_node(random: Random, kind: str, node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
    """Change a node or a weight."""
    weight = random.choice(graph.initializer)
    if kind == "domain":
        node.domain = random.choice(("com.microsoft", "x", "ai.onnx.ml"))
    elif kind == "drop":
        graph.node.remove(node)
    elif weight.raw_data and weight.data_type == TensorProto.FLOAT16:
        value = random.choice((np.nan, np.inf, 1e4, 0.0))
        weight.raw_data = np.full(len(weight.raw_data) // 2, value, np.float16).tobytes()


def change_attribute(random: Random, attribute: onnx.AttributeProto) -> None:
    """Change the value of an attribute."""
    attribute.i, attribute.f = random.choice(_BIG), random.choice((0.0, -1.0, 1e30, float("nan")))
    attribute.ints[:] = [random.choice(_BIG) for _ in attribute.ints]


def add_nodes(random: Random, model: onnx.ModelProto) -> str:
    """Put something that takes for ever, or gigabytes, before the outputs of a network."""
    graph, kind = model.graph, random.choice(("loop", "fill", "expand", "double", "power", "range"))
    end = graph.output[random.randrange(len(graph.output))].name
    for node in graph.node:
        node.output[:] = ["inner" if name == end else name for name in node.output]
        node.input[:] = ["inner" if name == end else name for name in node.input]

    def constant(name: str, values: list[int]) -> onnx.NodeProto:
        tensor = helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        return helper.make_node("Constant", [], [name], value=tensor)

    size = random.choice((10**4, 10**8, 10**10, 2**62))
    if kind == "loop":
        graph.node.extend([constant("trips", [2**62]), *make_loop(end)])
    elif kind in ("fill", "range"):
        ends = [constant("zero", [0]), constant("one", [1]), constant("size", [size])]
        make = helper.make_node("ConstantOfShape", ["size"], ["big"])
        if kind == "range":
            squeeze = [helper.make_node("Squeeze", [n], [f"{n}0"]) for n in ("zero", "size", "one")]
            ranged = helper.make_node("Range", ["zero0", "size0", "one0"], ["big0"])
            ends += [*squeeze, ranged]
            make = helper.make_node("Cast", ["big0"], ["big"], to=TensorProto.FLOAT)
        total = helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0)
        graph.node.extend([*ends, make, total, helper.make_node("Add", ["inner", "sum"], [end])])
    elif kind == "expand":
        graph.node.extend(
            [constant("shape", [size, 1, 1, 1]), helper.make_node("Expand", ["inner", "shape"], [end])]
        )
    else:
        names = ["inner", *(f"n{i}" for i in range(40))]
        for a, b in pairwise(names):
            inputs = [a, a]
            graph.node.append(helper.make_node("Concat", inputs, [b], axis=0 if kind == "double" else 1))
        graph.node.append(helper.make_node("Identity", [names[-1]], [end]))
    return f"{kind} {size}"


def make_loop(end: str) -> list[onnx.NodeProto]:
    """Return nodes of a loop that never ends and passes its input on."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Relu", ["value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    go = helper.make_tensor("go", TensorProto.BOOL, [], [True])
    return [
        helper.make_node("Constant", [], ["always"], value=go),
        helper.make_node("Squeeze", ["trips"], ["trips0"]),
        helper.make_node("Loop", ["trips0", "always", "inner"], [end], body=body),
    ]


def attempt(folder: Path) -> None:
    """Read a crop with the folder's weights."""
    Reader(folder).read(draw_crop(), crop=True)


if __name__ == "__main__":
    sys.exit(main("weights", make, attempt, 5000))
