"""ONNX Runtime scores an exported Transformer as torch does; to export it takes ten CPU-seconds."""

import numpy as np
import pytest
import torch

from nhin.data.pairs.batches import TokenTable
from nhin.models.seq2seq.config import Seq2SeqConfig
from nhin.models.seq2seq.network import Seq2Seq
from nhin.seq2seq.export import export_seq2seq
from nhin.seq2seq.loading import Seq2SeqRun
from nhin.seq2seq.onnx_model import load_exported
from nhin.seq2seq.recipe import Seq2SeqRecipe
from nhin.text.charset import PAD, SOS

pytest.importorskip("onnx", reason="torch exports ONNX with it")


def test_an_exported_transformer_scores_every_step_as_torch_does(tmp_path):
    torch.manual_seed(1)
    config = Seq2SeqConfig(decoder="transformer", dim=8, heads=2)
    tables = TokenTable(tuple("abc")), TokenTable(tuple("abcde"))
    run = Seq2SeqRun(Seq2Seq(7, 9, config).eval(), tables, "", Seq2SeqRecipe(model=config), 3)
    export_seq2seq(run, tmp_path / "out")
    source = np.array([[4, 5, 6, 4, 5, 6, 4, 5, 6], [6, 5, *[PAD] * 7], [5, *[PAD] * 8]])
    ours, theirs = run.steps, load_exported(tmp_path / "out").steps
    states, tokens = (ours.start(source), theirs.start(source)), np.full(len(source), SOS)
    for step in range(11):
        (want, first), (got, second) = ours.step(tokens, states[0]), theirs.step(tokens, states[1])
        np.testing.assert_allclose(got, want, atol=1e-4)
        states, tokens = (first, second), np.array([4 + step % 5, 5, 6])
