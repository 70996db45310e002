"""``nhin show attention RUN``: what a trained model's layers and heads look at."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from PIL import Image
from runs import tiny_run

from nhin.cli.app import main
from nhin.cli.show_run import format_token
from nhin.lm.loading import open_run
from nhin.models.config import ModelConfig
from nhin.text.tokenizers import train_tokenizer
from nhin.viz import layer_figures as viz

PROMPT = "the cat\nsat"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("runs") / "mine")


def show(out, run, *given):
    return main(["show", "attention", str(run), "--out", str(out), *map(str, given)])


def names(folder):
    """Open every picture of a folder, and return what there is."""
    for path in folder.iterdir():
        if path.suffix == ".svg":
            assert ET.fromstring(path.read_bytes()).tag.endswith("svg")
        elif path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
    return {path.name for path in folder.iterdir()}


def panels(path):
    """Return what is written in a picture, in order."""
    return [part.partition(" -->")[0] for part in path.read_text("utf-8").split("<!-- ")[1:]]


def both(*stems):
    return {f"{stem}.{form}" for stem in stems for form in ("png", "svg")}


@pytest.mark.usefixtures("fast_figures")
def test_every_layer_and_head_is_drawn_with_scores_mask_and_softmax(run, tmp_path, capsys):
    assert show(tmp_path, run, "--prompt", PROMPT) == 0
    assert names(tmp_path) == both("mine-weights", "mine-layer0", "mine-layer1")
    assert {tmp_path / line for line in capsys.readouterr().out.split()} == set(tmp_path.iterdir())
    written = panels(tmp_path / "mine-layer1.svg")
    for head in (0, 1):
        for what in ("scaled QK", "mask", "softmax"):
            assert f"head {head}: {what}" in written
    titles = [f"layer {layer}, head {head}" for layer in (0, 1) for head in (0, 1)]
    assert [word for word in panels(tmp_path / "mine-weights.svg") if word in titles] == titles


@pytest.mark.usefixtures("fast_figures")
def test_places_bear_their_tokens_with_blanks_as_signs(run, tmp_path):
    assert show(tmp_path, run, "--prompt", PROMPT, "--layer", 0) == 0
    letters = [word for word in panels(tmp_path / "mine-layer0.svg") if len(word) == 1]
    assert letters[: len(PROMPT)] == list("the␣cat↵sat")


@pytest.mark.usefixtures("fast_figures")
def test_some_layers_and_heads_may_be_chosen(run, tmp_path):
    assert show(tmp_path, run, "--prompt", PROMPT, "--layer", 1, "--head", 0) == 0
    assert names(tmp_path) == both("mine-weights", "mine-layer1")
    assert not any("head 1" in word for word in panels(tmp_path / "mine-layer1.svg"))
    assert "layer 0, head 0" not in panels(tmp_path / "mine-weights.svg")


@pytest.mark.usefixtures("fast_figures")
def test_matrices_are_what_the_model_explains(run, tmp_path):
    assert show(tmp_path, run, "--prompt", PROMPT, "--kind", "weights", "--matrices") == 0
    assert names(tmp_path) == both("mine-weights") | {"mine-attention.npz"}
    opened = open_run(run)
    layers = opened.model.explain(torch.tensor([opened.tokenizer.encode(PROMPT)]))
    with np.load(tmp_path / "mine-attention.npz", allow_pickle=False) as held:
        assert "".join(held["tokens"]) == "the␣cat↵sat"
        for number, steps in enumerate(layers):
            for name in ("scores", "visible", "weights"):
                np.testing.assert_array_equal(held[f"layer{number}.{name}"], steps[name][0].numpy())
        weights, scores = held["layer1.weights"], held["layer1.scores"]
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert (weights >= 0).all()
    assert (np.triu(weights, 1) == 0).all()
    assert (np.triu(scores, 1) != 0).any()


@pytest.mark.usefixtures("fast_figures")
@pytest.mark.parametrize(
    ("design", "prompt", "message"),
    [
        (ModelConfig(depth=1, dim=16, heads=2, kv_heads=1, context=20, mechanism="linear"), "cat", "phi(q)"),
        (ModelConfig(depth=1, dim=16, heads=2, context=20, mechanism="lsh"), "the cat", "query_buckets"),
        (ModelConfig(depth=1, dim=16, heads=2, context=20, positions="alibi"), "the cat", "scores"),
    ],
)
def test_any_mechanism_shows_its_own_steps(design, prompt, message, tmp_path):
    run = tiny_run(tmp_path / "mine", design=design)
    out = tmp_path / "out"
    assert show(out, run, "--prompt", prompt, "--kind", "steps", "--head", 1) == 0
    assert names(out) == both("mine-layer0-head1-steps")
    assert any(word.startswith(message) for word in panels(out / "mine-layer0-head1-steps.svg"))


@pytest.mark.usefixtures("fast_figures")
def test_weights_that_are_no_softmax_are_not_called_so(tmp_path):
    run = tiny_run(
        tmp_path / "mine", design=ModelConfig(depth=1, dim=8, heads=1, context=9, mechanism="linear")
    )
    assert show(tmp_path / "out", run, "--prompt", "cat", "--layer", 0) == 0
    written = panels(tmp_path / "out" / "mine-layer0.svg")
    assert "head 0: weights" in written
    assert not {"head 0: softmax", "head 0: scaled QK"} & {*written}


@pytest.mark.usefixtures("fast_figures")
def test_a_memory_stands_before_the_tokens_of_the_last_segment(tmp_path):
    run = tiny_run(tmp_path / "mine", design=ModelConfig(depth=1, dim=16, heads=1, context=5, memory=2))
    assert show(tmp_path / "out", run, "--prompt", "the cat", "--matrices") == 0
    with np.load(tmp_path / "out" / "mine-attention.npz") as held:
        assert list(held["tokens"]) == ["memory 0", "memory 1", "a", "t"]
        assert held["layer0.weights"].shape == (1, 4, 4)


def test_half_a_character_is_its_bytes_and_an_end_is_named():
    tokenizer = train_tokenizer("byte", lambda: [])
    words = [format_token(tokenizer, one) for one in (*"ả \t".encode(), 0, tokenizer.eos_id)]
    assert words == ["⟨e1⟩", "⟨ba⟩", "⟨a3⟩", "␣", "⇥", "⟨0⟩", "⟨end⟩"]


def test_steps_are_those_of_the_head_that_is_asked_for():
    shapes = {"weights": (4, 6, 6), "phi(q)": (6, 4, 3), "phi(k)": (6, 2, 3), "S": (2, 3, 5), "Z": (2, 3)}
    steps = {name: np.random.default_rng(0).random(shape) for name, shape in shapes.items()}
    one = viz.Layer(0, steps, kv_heads=2)
    want = {
        "weights": steps["weights"][3],
        "phi(q)": steps["phi(q)"][:, 3],
        "phi(k)": steps["phi(k)"][:, 1],
        "S": steps["S"][1],
        "Z": steps["Z"],
    }
    for name, value in want.items():
        np.testing.assert_array_equal(viz._head_slice(steps[name], 3, one), value)


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ([], 2, "give the text that the model attends to with --prompt"),
        (["--prompt", ""], 2, "with --prompt"),
        (["--prompt", "the cat sat on the mat"], 2, "has 22 tokens, and 16 are the model's context"),
        (["--prompt", "Ω"], 2, "is not among the"),
        (["--prompt", "cat", "--layer", "2"], 2, "--layer is 2; this model has 0 to 1"),
        (["--prompt", "cat", "--head", "-1"], 2, "--head is -1; this model has 0 to 1"),
        (["--prompt", "cat", "--kind", "alignment"], 2, "--kind alignment is for mechanisms"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_writes_nothing(given, code, message, run, tmp_path, capsys):
    assert show(tmp_path / "out", run, *given) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err
    assert not (tmp_path / "out").exists()


def test_only_so_many_tokens_and_panels_are_drawn(tmp_path, capsys):
    run = tiny_run(tmp_path / "long", design=ModelConfig(depth=1, dim=16, heads=1, context=400))
    assert show(tmp_path / "out", run, "--prompt", "a" * 257) == 2
    assert "256 are the most that are drawn" in capsys.readouterr().err
    run = tiny_run(tmp_path / "wide", design=ModelConfig(depth=10, dim=32, heads=16, context=16))
    assert show(tmp_path / "out", run, "--prompt", "cat", "--kind", "weights") == 2
    assert "160 panels are more than 144; choose layers and heads" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_prompt_is_for_a_run_and_a_run_without_attention_has_nothing_to_draw(tmp_path, capsys):
    assert show(tmp_path / "out", "softmax", "--prompt", "cat") == 2
    assert "are for a trained model" in capsys.readouterr().err
    run = tiny_run(tmp_path / "flat", design=ModelConfig(depth=0, dim=16, positions="none"))
    assert show(tmp_path / "out", run, "--prompt", "cat") == 2
    assert "has no attention to draw" in capsys.readouterr().err


def test_the_same_twice_is_the_same_bytes(run, tmp_path):
    for folder in ("one", "two"):
        assert show(tmp_path / folder, run, "--prompt", "cat", "--kind", "weights", "--matrices") == 0
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / f).iterdir()} for f in ("one", "two"))
    assert one == two
