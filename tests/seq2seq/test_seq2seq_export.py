"""Laws of exported encoder-decoder models: they score as torch does, and a stranger's files are one error."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from nhin.cli.app import main
from nhin.data.pairs.batches import TokenTable
from nhin.errors import CheckpointError, UsageError
from nhin.models.seq2seq.config import Seq2SeqConfig
from nhin.models.seq2seq.network import Seq2Seq
from nhin.reading.onnx_model import DECODER, ENCODER, MANIFEST, hash_model
from nhin.seq2seq import export
from nhin.seq2seq.loading import Seq2SeqRun
from nhin.seq2seq.onnx_model import load_exported
from nhin.seq2seq.recipe import PairDataConfig, Seq2SeqRecipe
from nhin.seq2seq.restore import MarkModel
from nhin.text.charset import PAD, SOS
from nhin.text.unmarked import Slot

pytest.importorskip("onnx", reason="torch exports ONNX with it")

LUONG = Seq2SeqConfig(decoder="luong", dim=8, heads=2, context=12, reach=2)
CONFIGS = {
    "fixed, rnn": replace(LUONG, decoder="fixed", cell="rnn", depth=2),
    "bahdanau, additive, lstm": replace(LUONG, decoder="bahdanau", cell="lstm", directions=1),
    "local-m, concat, feeding": replace(LUONG, alignment="local-m", score="concat", input_feeding=True),
    "local-p, dot": replace(LUONG, alignment="local-p", score="dot"),
    "location": replace(LUONG, score="location"),
}  # the Transformer takes ten CPU-seconds to export: tests/oracles/test_exported_transformer.py
WORDS = "tôi tới đi học hoc".split()
FORMS = ["di", "hoc", "toi"]
SOURCE = np.array([[4, 5, 6, 4, 5, 6, 4, 5, 6], [6, 5, *[PAD] * 7], [5, *[PAD] * 8]])


def make_run(config):
    torch.manual_seed(1)
    model = Seq2Seq(len(FORMS) + 4, len(WORDS) + 4, config).eval()
    recipe = Seq2SeqRecipe(model=config, data=PairDataConfig(task="marks", path="text.txt"))
    return Seq2SeqRun(model, (TokenTable(tuple(FORMS)), TokenTable(tuple(WORDS))), " ", recipe, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "marks"
    export.export_seq2seq(make_run(LUONG), out)
    return out


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_an_export_scores_every_step_as_torch_does_and_leaves_the_model_as_it_was(config, tmp_path):
    run = make_run(config)
    before = {name: weight.clone() for name, weight in run.model.state_dict().items()}
    export.export_seq2seq(run, tmp_path / "out")
    assert all(torch.equal(weight, before[name]) for name, weight in run.model.state_dict().items())
    ours, theirs = run.steps, load_exported(tmp_path / "out").steps
    states, tokens = (ours.start(SOURCE), theirs.start(SOURCE)), np.full(len(SOURCE), SOS)
    for step in range(11):  # beyond the window of local-m, and beyond the longest source
        (want, first), (got, second) = ours.step(tokens, states[0]), theirs.step(tokens, states[1])
        np.testing.assert_allclose(got, want, atol=1e-4)
        states, tokens = (first, second), np.array([4 + step % 5, 5, 6])


def test_marks_are_restored_from_an_export_without_torch_as_from_its_run(folder, tmp_path, capfdbinary):
    rows = [[Slot(word, True) for word in "toi di hoc toi".split()], [Slot("tới", False), Slot("hoc", True)]]
    want = MarkModel(make_run(LUONG)).choose(rows)
    assert MarkModel(load_exported(folder)).choose(rows) == want
    (tmp_path / "a.txt").write_text("toi di hoc toi\n", "utf-8")
    assert main(["restore", str(tmp_path / "a.txt"), "--model", str(folder)]) == 0
    assert capfdbinary.readouterr().out.decode() == " ".join(want[0]) + "\n"


def test_an_export_has_a_card_and_a_digest_that_pins_it(folder):
    assert "task marks" in (folder / "CARD.md").read_text("utf-8")
    digest = hash_model(folder)
    assert load_exported(folder, digest=digest[:16]).task == "marks"
    with pytest.raises(CheckpointError, match="another digest"):
        load_exported(folder, digest="0" * 16)
    with pytest.raises(UsageError, match="hexadecimal"):
        load_exported(folder, digest="pin")


def test_an_export_that_scores_otherwise_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(CheckpointError, match="nothing was written"):
        export.export_seq2seq(make_run(LUONG), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def put(folder, **changes):
    """Change the manifest; a value None leaves a key out."""
    tree = json.loads((folder / MANIFEST).read_text("utf-8")) | changes
    tree = {key: value for key, value in tree.items() if value is not None}
    (folder / MANIFEST).write_text(json.dumps(tree), "utf-8")


def swap_networks(folder):
    for name, other in ((ENCODER, "x"), (DECODER, ENCODER), ("x", DECODER)):
        (folder / name).rename(folder / other) if name != DECODER else (folder / DECODER).rename(
            folder / ENCODER
        )
    put(folder, files={n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in (ENCODER, DECODER)})


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / DECODER).write_bytes(b"x"),
        lambda folder: (folder / MANIFEST).unlink(),
        lambda folder: put(folder, format="nhin-reader"),
        lambda folder: put(folder, version=9),
        lambda folder: put(folder, target=WORDS[:3]),
        lambda folder: put(folder, target=["a", "a"]),
        lambda folder: put(folder, target=7),
        lambda folder: put(folder, carried=["h", "x"]),
        lambda folder: put(folder, carried=["c", "h"]),
        lambda folder: put(folder, task=None),
        swap_networks,
    ],
    ids="torn gone reader version vocab twice number unknown order task swapped".split(),
)
def test_a_damaged_or_foreign_export_is_one_error(change, folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    change(other)
    with pytest.raises(CheckpointError) as why:
        load_exported(other)
    assert "\n" not in str(why.value)


def test_answers_that_are_not_finite_are_one_error(tmp_path, monkeypatch):
    run = make_run(LUONG)
    with torch.no_grad():
        run.model.head.bias[4] = float("nan")
    monkeypatch.setattr(export, "compare", lambda *_: 0.0)
    export.export_seq2seq(run, tmp_path / "out")
    with pytest.raises(CheckpointError, match="not finite"):
        MarkModel(load_exported(tmp_path / "out")).choose([[Slot("toi", True)]])


def test_restoring_with_an_export_of_another_task_is_refused(folder, tmp_path, capsys):
    put(shutil.copytree(folder, tmp_path / "out"), task="copy")
    (tmp_path / "a.txt").write_text("toi", "utf-8")
    assert main(["restore", str(tmp_path / "a.txt"), "--model", str(tmp_path / "out")]) == 2
    assert "copy" in capsys.readouterr().err


def test_a_digest_without_an_export_is_refused(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("toi", "utf-8")
    for model in ([], ["--model", str(tmp_path)]):
        assert main(["restore", str(tmp_path / "a.txt"), "--digest", "0" * 16, *model]) == 2
        assert "--digest" in capsys.readouterr().err
