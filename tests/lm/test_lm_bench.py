"""The bench of language models: its arithmetic, and the recipes it measures. Nothing here is timed."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nhin.config import load_recipe, recipe_names
from nhin.lm.evaluate import mean_nats
from nhin.lm.recipe import LMRecipe
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig

ROOT = Path(__file__).parents[2]
VOCAB = 66


@pytest.fixture(scope="module")
def measuring():
    """Load what benchmarks share."""
    spec = importlib.util.spec_from_file_location("bench_measuring", ROOT / "benchmarks" / "measuring.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Text:
    """Tokens in memory."""

    def __init__(self, ids):
        self.ids = ids

    def __len__(self):
        return len(self.ids)

    def read(self, start, stop):
        """Return a part of the tokens."""
        return self.ids[start:stop]


@pytest.mark.parametrize("length", [33, 35, 7])
def test_nats_of_windows_are_those_of_the_evaluation_for_any_length(measuring, length):
    torch.manual_seed(0)
    model = build_lm(5, ModelConfig(depth=1, dim=8, heads=1, context=8)).eval()
    ids = np.random.default_rng(0).integers(0, 5, length)
    nats = measuring.nats_of_windows(model, ids, model.context)
    assert len(nats) == length - 1
    assert nats.mean() == pytest.approx(mean_nats(model, Text(ids)), abs=1e-5)


def test_p_values_are_small_for_a_gain_in_every_block_and_seed_and_large_for_its_reverse(measuring):
    random = np.random.default_rng(0)
    worse = [2.0 + random.normal(0, 1e-3, 16 * 32) for _ in range(3)]
    better = [nats - gain for nats, gain in zip(worse, (0.09, 0.1, 0.11), strict=True)]
    gain, loss = (measuring.compute_p_values(*pair, block=32) for pair in ((worse, better), (better, worse)))
    assert gain["text"] < 1e-3 < 0.999 < loss["text"]
    # Student's t with two degrees of freedom has a closed form.
    t = 0.1 / (0.01 / math.sqrt(3))
    expected = 0.5 - t / (2 * math.sqrt(2 + t * t))
    assert gain["seeds"] == pytest.approx(expected, rel=1e-2)
    assert gain["seeds"] + loss["seeds"] == pytest.approx(1, abs=1e-4)


def test_no_gain_is_significant_where_blocks_differ_in_both_directions(measuring):
    one = np.repeat([1.0, -1.0] * 8, 32)
    p = measuring.compute_p_values([one], [one * 0], block=32)
    assert p["text"] > 0.1
    assert math.isnan(p["seeds"])


def test_every_recipe_of_a_language_model_builds_and_is_in_the_docs():
    names = [name for name in recipe_names() if name.startswith("lm-")]
    table = (ROOT / "docs" / "language-models.md").read_text("utf-8")
    assert {"lm-fast", "lm-small", "lm-medium"} <= set(names)
    for name in names:
        assert f"| `{name}` |" in table
        with torch.device("meta"):
            build_lm(VOCAB, load_recipe(LMRecipe, name).model)


def test_from_fast_to_medium_recipes_have_more_weights_and_use_one_thread():
    recipes = [load_recipe(LMRecipe, name) for name in ("lm-fast", "lm-small", "lm-medium")]
    with torch.device("meta"):
        models = [build_lm(VOCAB, recipe.model) for recipe in recipes]
    sizes = [sum(p.numel() for p in model.parameters()) for model in models]
    assert sizes == sorted(sizes)
    assert all(recipe.training.threads == 1 for recipe in recipes)
