"""Weights folders of strangers: whatever they hold, one clear error, in bounded time and memory."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import nhin
from nhin.cli.app import main
from nhin.errors import CheckpointError, UsageError
from nhin.reading import isolated_model, onnx_model
from nhin.reading.onnx_model import DECODER, ENCODER, MANIFEST, hash_model, load_recognizer
from nhin.reading.onnx_session import make_session

onnx = pytest.importorskip("onnx")
helper, TensorProto = onnx.helper, onnx.TensorProto

CHARS = "abcd"
VOCAB = len(CHARS) + 4
CROP = np.pad(np.zeros((24, 6, 3), np.uint8), ((8, 8), (10, 50), (0, 0)), constant_values=255)


def network(inputs, outputs, nodes, weights=()):
    ends = [
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in side.items()]
        for side in (inputs, outputs)
    ]
    weights = [helper.make_tensor(n, TensorProto.INT64, [len(v)], v) for n, v in weights]
    graph = helper.make_graph(nodes, "g", *ends, initializer=weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def make_encoder(last=()):
    """Pictures to even log-probabilities of every fourth column; ``last`` nodes make ctc from "even"."""
    pictures = {"pictures": (TensorProto.FLOAT, ["B", 1, 40, "W"])}
    outputs = {
        "memory": (TensorProto.FLOAT, ["B", "F", VOCAB]),
        "ctc": (TensorProto.FLOAT, ["B", "F", VOCAB]),
    }
    nodes = [
        helper.make_node("AveragePool", ["pictures"], ["pooled"], kernel_shape=[40, 4], strides=[40, 4]),
        helper.make_node("Squeeze", ["pooled", "axes"], ["row"]),
        helper.make_node("Unsqueeze", ["row", "end"], ["column"]),
        helper.make_node("Tile", ["column", "times"], ["memory"]),
        helper.make_node("LogSoftmax", ["memory"], ["even"], axis=-1),
        *(last or [helper.make_node("Identity", ["even"], ["ctc"])]),
    ]
    weights = [("axes", [1, 2]), ("end", [2]), ("times", [1, 1, VOCAB])]
    return network(pictures, outputs, nodes, weights)


def make_decoder():
    inputs = {"memory": (TensorProto.FLOAT, ["B", "F", VOCAB]), "tokens": (TensorProto.INT64, ["B", "T"])}
    nodes = [
        helper.make_node("Unsqueeze", ["tokens", "end"], ["column"]),
        helper.make_node("Cast", ["column"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Tile", ["numbers", "times"], ["logits"]),
    ]
    outputs = {"logits": (TensorProto.FLOAT, ["B", "T", VOCAB])}
    return network(inputs, outputs, nodes, [("end", [2]), ("times", [1, 1, VOCAB])])


def write(folder: Path, encoder=None, decoder=None, **changes) -> Path:
    folder.mkdir(exist_ok=True)
    data = {ENCODER: make_encoder() if encoder is None else encoder, DECODER: decoder or make_decoder()}
    data = {n: d if isinstance(d, bytes) else d.SerializeToString() for n, d in data.items()}
    for name, content in data.items():
        (folder / name).write_bytes(content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}
    tree = {"format": "nhin-reader", "version": 1, "charset": CHARS, "height": 40, "files": hashes}
    (folder / MANIFEST).write_text(json.dumps(tree | changes))
    return folder


def loop(body_input="even"):
    """Return nodes of a loop that never ends."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    go = helper.make_tensor("go", TensorProto.BOOL, [], [True])
    return [
        helper.make_node("Constant", [], ["always"], value=go),
        helper.make_node("Loop", ["", "always", body_input], ["ctc"], body=body),
    ]


def fill():
    """Return nodes that make a tensor of 80 GB."""
    size = helper.make_tensor("s", TensorProto.INT64, [1], [20 * 10**9])
    return [
        helper.make_node("Constant", [], ["size"], value=size),
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["even", "sum"], ["ctc"]),
    ]


def external():
    model = make_encoder()
    weight = model.graph.initializer[0]
    weight.ClearField("int64_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../../../../../etc/passwd")
    return model


def read(folder):
    return load_recognizer(folder, threads=1).read([CROP])


def test_a_folder_of_a_stranger_reads(tmp_path):
    assert len(read(write(tmp_path / "w"))) == 1


def test_a_network_keeps_neither_memory_nor_plans_for_shapes():
    """They took half a gigabyte by the end of a PDF, and the child of a stranger's weights its limit."""
    options = make_session(make_encoder().SerializeToString(), 1).get_session_options()
    assert not options.enable_mem_pattern
    assert not options.enable_cpu_mem_arena


def declared_large():
    model = make_encoder()
    model.graph.initializer[0].dims[:] = [2**40]
    return model


def scaled(value):
    """Return nodes that multiply the log-probabilities."""
    tensor = helper.make_tensor("f", TensorProto.FLOAT, [], [value])
    return [
        helper.make_node("Constant", [], ["factor"], value=tensor),
        helper.make_node("Mul", ["even", "factor"], ["ctc"]),
    ]


HOSTILE = {
    "exchanged": lambda: {"encoder": make_decoder(), "decoder": make_encoder()},
    "twice the encoder": lambda: {"decoder": make_encoder()},
    "not a network": lambda: {"encoder": b"not a network"},
    "empty": lambda: {"encoder": b""},
    "an endless loop": lambda: {"encoder": make_encoder(loop())},
    "80 GB": lambda: {"encoder": make_encoder(fill())},
    "another file": lambda: {"encoder": external()},
    "a weight larger than the file": lambda: {"encoder": declared_large()},
    "scores that are not finite": lambda: {"encoder": make_encoder(scaled(float("nan")))},
    "no log-probabilities": lambda: {"encoder": make_encoder(scaled(-400.0))},
    "a charset too short": lambda: {"charset": "abc"},
    "a charset too long": lambda: {"charset": "abcde"},
    "no charset": lambda: {"charset": ""},
    "a control character": lambda: {"charset": "abc\x1b"},
    "half a pair": lambda: {"charset": "abc\ud800"},
    "one character twice": lambda: {"charset": "abca"},
    **{f"a height of {h}": lambda h=h: {"height": h} for h in (0, -40, 10**9, 10**400, 40.5, True)},
    **{
        f"a temperature of {t}": lambda t=t: {"temperatures": {"both": t}}
        for t in (0, -1, 1e308, "x", None, 10**400)
    },
    **{
        f"a calibration {name}": lambda c=c: {"calibrations": {"both": c}}
        for name, c in {
            "that falls": {"lines": {"low": -1.0}},
            "without bounds": {"chars": {"offset": 1e308}},
            "that drops all": {"floor": 1.5},
            "of words": {"lines": {"high": "x"}},
            "of nothing": None,
        }.items()
    },
}


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are Linux's")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_folder_is_one_error(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(isolated_model, "RUN_SECONDS", -2.5)
    with pytest.raises(CheckpointError) as why:
        read(write(tmp_path / "w", **HOSTILE[kind]()))
    assert "\n" not in str(why.value)
    assert len(str(why.value)) < 600


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000, "NaN", "\xff", "7", ""])
def test_a_manifest_that_is_none_is_one_error(tmp_path, text):
    folder = write(tmp_path / "w")
    (folder / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError):
        load_recognizer(folder)


@pytest.mark.parametrize("name", [ENCODER, DECODER, MANIFEST])
def test_what_is_no_file_is_never_opened(tmp_path, name):
    import os

    folder = write(tmp_path / "w")
    for place in (
        os.mkfifo,
        Path.mkdir,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path),
    ):
        (folder / name).unlink()
        place(folder / name)
        with pytest.raises(CheckpointError):
            load_recognizer(folder)
        (folder / name).rmdir() if (folder / name).is_dir() else (folder / name).unlink()
        (folder / name).touch()


@pytest.mark.parametrize("name", [ENCODER, DECODER, MANIFEST])
def test_a_file_of_gigabytes_is_refused_unread(tmp_path, name):
    folder = write(tmp_path / "w")
    with (folder / name).open("ab") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(CheckpointError, match="larger than"):
        load_recognizer(folder)


def test_a_digest_pins_a_folder_before_anything_is_parsed(tmp_path, monkeypatch):
    folder = write(tmp_path / "w")
    digest = hash_model(folder)
    for given in (digest, digest[:16].upper()):
        load_recognizer(folder, digest=given)
    monkeypatch.setattr(onnx_model, "parse_json", None)
    with pytest.raises(CheckpointError, match=digest):
        load_recognizer(folder, digest="0" * 64)


@pytest.mark.parametrize("digest", ["", "ab", "0" * 65, "g" * 16])
def test_a_digest_too_short_to_pin_is_refused(tmp_path, digest):
    with pytest.raises(UsageError, match="16 to 64"):
        load_recognizer(write(tmp_path / "w"), digest=digest)


def test_the_command_names_the_weights_once(tmp_path, capsys):
    folder, sign = (
        write(tmp_path / "w", charset="abc"),
        Path(nhin.__file__).parent / "examples" / "street_sign.png",
    )
    assert main(["read", "--crop", "--weights", str(folder), str(sign), str(sign)]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_inspect_prints_the_digest_that_other_commands_take(tmp_path, capsys):
    folder = write(tmp_path / "w", name="mine")
    assert main(["inspect", str(folder), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["digest"] == hash_model(folder)
    assert shown["characters"] == len(CHARS)
    assert main(["inspect", str(folder)]) == 0
    assert f"digest: {shown['digest']}" in capsys.readouterr().out
    for command in (
        ["read", "--crop", "--weights", str(folder), "-"],
        ["evaluate", str(folder), str(tmp_path)],
    ):
        assert main([*command, "--digest", "0" * 16]) == 4
        assert shown["digest"] in capsys.readouterr().err
