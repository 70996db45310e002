"""What is shown of a reading is where its own decoder looked."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from nhin.cli.app import main
from nhin.errors import CheckpointError
from nhin.image.preprocess import preprocess_crop, to_batch
from nhin.models.recognizer import RecognizerNet
from nhin.ocr import cross_attention
from nhin.ocr.cross_attention import open_decoder, trace_reading
from nhin.ocr.evaluate import open_reader
from nhin.ocr.torch_backend import TorchModel
from nhin.reading.decoder_attention import OnnxAttention, expose_attention, trace_text
from nhin.reading.decoder_recognizer import DecoderRecognizer
from nhin.reading.detector import Detector
from nhin.reading.line_shape import Detection, LineShape
from nhin.reading.onnx_model import load_recognizer, read_model
from nhin.reading.reader import Reader
from nhin.reading.result import Recognition
from nhin.text.charset import SOS, VIETNAMESE

SMALL = {"backbone": "tiny", "dim": 32, "depth": 0, "decoder_depth": 1, "heads": 2}
pytestmark = pytest.mark.compiled


@pytest.fixture(scope="module")
def picture(tmp_path_factory, crops):
    """Save a crop that the small reader knows by heart."""
    path = tmp_path_factory.mktemp("pictures") / "chữ.png"
    Image.fromarray(crops[2]).save(path)
    return path


def test_exported_weights_show_the_attention_of_the_torch_model(pair, crops):
    folder, model = pair
    recognizer, decoder = load_recognizer(folder), OnnxAttention("tiny", read_model(folder)[1][1])
    for crop, text in zip(crops[:3], ("phở", "a", ""), strict=True):
        shown = trace_text(recognizer, decoder, crop, text)
        tokens = torch.tensor([[SOS, *recognizer.charset.encode(text)]])
        pictures = torch.from_numpy(to_batch([preprocess_crop(crop, model.height)]))
        with torch.no_grad():
            memory, _ = model.encode(pictures)
            (want,) = model.cross_attention(memory, tokens)
        assert shown.weights.shape == (1, 2, len(text) + 1, 1, memory.shape[1])
        np.testing.assert_allclose(shown.weights[0, :, :, 0], want[0], atol=1e-4)


def test_a_checkpoint_and_its_export_show_the_same(run, pair, picture):
    ((torch_part,),) = trace_reading(run, picture, crop=True)
    ((onnx_part,),) = trace_reading(pair[0], picture, crop=True)
    assert torch_part.text == onnx_part.text
    np.testing.assert_allclose(torch_part.weights, onnx_part.weights, atol=0.02)  # one is rounded to halves


def test_a_wide_line_is_shown_in_the_windows_in_which_it_is_read(run):
    crop = np.full((40, 1300, 3), 230, np.uint8)
    for left in range(20, 1290, 30):
        crop[8:32, left : left + 6] = 20
    (reading,) = Reader(recognizer=open_reader(run), min_confidence=0).read(crop, crop=True).lines
    ((*parts,),) = trace_reading(run, crop, crop=True)
    assert len(parts) > 1
    assert reading.text.startswith(parts[0].text)
    assert reading.text.endswith(parts[-1].text)
    assert all(part.text in reading.text for part in parts)
    starts = [part.left for part in parts]
    assert starts == sorted(set(starts))
    for part in parts:
        assert part.weights.shape[-1] * part.frame_width >= part.picture.shape[1] - part.frame_width
    assert sum(part.picture.shape[1] for part in parts) >= reading.box[1][0] - reading.box[0][0] - 4


def test_each_character_and_the_end_have_a_strip(pair, picture, tmp_path, capsys):
    options = ["--weights", str(pair[0]), "--crop", "--matrices", "--out", str(tmp_path)]
    code = main(["show", "reading", str(picture), *options])
    assert code == 0
    files = {tmp_path / f"chữ-line1{ending}" for ending in (".png", ".svg", "-attention.npz")}
    assert set(tmp_path.iterdir()) == files
    assert {tmp_path / line for line in capsys.readouterr().out.splitlines()} == files
    text = load_recognizer(pair[0]).read([np.asarray(Image.open(picture))])[0].text
    written = [part.partition(" -->")[0] for part in (tmp_path / "chữ-line1.svg").read_text().split("<!-- ")]
    assert [word for word in written[1:] if "line 1" not in word] == [*text.replace(" ", "␣"), "⟨end⟩"]
    with np.load(tmp_path / "chữ-line1-attention.npz") as held:
        assert held["part0.weights"].shape[:3] == (1, 2, len(text) + 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--line", "2"], "--line is 2"),
        (["--layer", "1"], "--layer is 1; this model has 0 to 0"),
        (["--head", "2"], "--head is 2; this model has 0 to 1"),
        (["--prompt", "x"], "reading takes one picture"),
        (["--causal"], "reading takes one picture"),
        (["--weights", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_writes_nothing(given, message, pair, picture, tmp_path, capsys):
    out = tmp_path / "out"
    weights = [] if "--weights" in given else ["--weights", str(pair[0])]
    assert main(["show", "reading", str(picture), "--crop", "--out", str(out), *weights, *given]) in (2, 4)
    written = capsys.readouterr().err
    assert message in written
    assert written.count("\n") == 1
    assert not out.exists()


def test_a_blank_picture_has_nothing_to_show(pair, tmp_path, capsys):
    path = tmp_path / "blank.png"
    Image.new("RGB", (80, 40), "white").save(path)
    assert (
        main(["show", "reading", str(path), "--weights", str(pair[0]), "--out", str(tmp_path / "out")]) == 2
    )
    assert "no text" in capsys.readouterr().err


def test_a_softmax_whose_keys_come_from_the_tokens_is_not_taken_for_one_over_the_memory():
    nodes = [
        helper.make_node("Cast", ["tokens"], ["k"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["memory", "k"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("memory", "tokens")]
    last = [helper.make_tensor_value_info("weights", TensorProto.FLOAT, None)]
    network = helper.make_model(helper.make_graph(nodes, "decoder", ends, last))
    with pytest.raises(CheckpointError, match="0 layers of attention"):
        expose_attention(network.SerializeToString(), "strange")
    with pytest.raises(CheckpointError, match="damaged"):
        expose_attention(b"\xffno network", "torn")


def test_a_network_that_was_cut_off_is_refused(pair):
    decoder = read_model(pair[0])[1][1]
    for end in [*range(40), *range(40, len(decoder), len(decoder) // 60), len(decoder) - 1]:
        with pytest.raises(CheckpointError, match="torn"):
            expose_attention(decoder[:end], "torn")


def test_the_outputs_are_added_to_those_that_a_network_has(pair):
    decoder = read_model(pair[0])[1][1]
    network, added = expose_attention(decoder, "tiny")
    before, after = (onnx.load_model_from_string(data).graph for data in (decoder, network))
    assert [end.name for end in after.output] == [*(end.name for end in before.output), *added]
    assert [node.name for node in after.node] == [node.name for node in before.node]


def test_the_cells_of_a_grid_are_shown_where_they_stand(crops):
    recognizer = DecoderRecognizer(TorchModel(RecognizerNet(**SMALL, memory="grid")), VIETNAMESE)

    def decoder(memory, tokens):
        weights = np.zeros((1, 2, tokens.shape[1], memory.shape[1]), np.float32)
        weights[..., 2 * 5 + 1] = 1.0  # the third column, its second row of five
        return [weights]

    shown = trace_text(recognizer, decoder, crops[2], "a").weights
    assert shown.shape[3] == 5
    assert (shown[..., 1, 2] == 1).all()
    assert shown.sum() == 4


def test_attention_that_does_not_sum_to_one_is_refused(pair, crops):
    recognizer = load_recognizer(pair[0])
    decoder = open_decoder(pair[0], recognizer)
    with pytest.raises(CheckpointError, match="sum"):
        trace_text(recognizer, lambda m, t: [2 * w for w in decoder(m, t)], crops[2], "a")
    with pytest.raises(CheckpointError, match="sum"):
        trace_text(recognizer, lambda m, t: [w * np.float32("nan") for w in decoder(m, t)], crops[2], "a")


def test_lines_are_shown_in_reading_order(monkeypatch):
    picture = np.full((120, 400, 3), 255, np.uint8)
    boxes = [(210, 20, 390, 50), (10, 20, 190, 50), (10, 70, 190, 100)]
    lines = tuple(
        LineShape(np.array([[left, (top + low) / 2], [right, (top + low) / 2]], np.float32), 18)
        for left, top, right, low in boxes
    )
    for left, top, right, bottom in boxes:
        picture[top + 4 : bottom - 4, left + 8 : right - 8 : 9] = 0
    recognizer = DecoderRecognizer(TorchModel(RecognizerNet(**SMALL)), VIETNAMESE)
    monkeypatch.setattr(Detector, "find", lambda self, pixels: Detection(lines))
    monkeypatch.setattr(cross_attention, "open_reader", lambda weights: recognizer)
    monkeypatch.setattr(
        DecoderRecognizer,
        "read",
        lambda self, crops: [Recognition(str(i), 0.1 * (i + 1)) for i, _ in enumerate(crops)],
    )
    want = Reader(recognizer=recognizer, min_confidence=0).read(picture).lines
    shown = trace_reading("nowhere", picture)
    assert [part.text for (part,) in shown] == [line.text for line in want]
    assert [line.text for line in want] != ["0", "1", "2"]  # the order in which they were read
