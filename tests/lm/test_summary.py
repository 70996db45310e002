"""Looking into a language model: weights, arithmetic, activations, caches and the first loss."""

import json
import math
from dataclasses import replace

import pytest
import torch
from runs import TINY, tiny_run
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

from nhin.cli.app import main
from nhin.lm.activation_memory import count_activation_bytes, measure_activations
from nhin.lm.flops import count_flops, mean_visible_keys
from nhin.lm.summary import count_parameters, measure_cache, measure_first_loss, summarize
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig

SMALL = ModelConfig(depth=2, dim=16, heads=2, context=12)
DESIGNS = {
    "plain": SMALL,
    "gpt2": replace(SMALL, norm="layer", positions="learned", bias=True),
    "llama": replace(SMALL, mlp="swiglu", kv_heads=1, tie_embeddings=False),
    "experts": replace(SMALL, experts=4, top_k=2),
    "swiglu experts": replace(SMALL, experts=3, top_k=1, mlp="swiglu", hidden_dim=5),
    "one head": replace(SMALL, depth=1, heads=1, mlp="none", final_norm=False),
    "bigram": replace(SMALL, depth=0, positions="none"),
    "memory": replace(SMALL, memory=3),
    "exits": replace(SMALL, exits=True),
}
each = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)


def made(design, vocab=11):
    torch.manual_seed(0)
    return build_lm(vocab, design)


@each
def test_parts_are_all_weights_and_those_at_work_fewer_only_with_experts(design):
    model, found = made(design), summarize(11, design, seeds=())
    assert found.weights == sum(weight.numel() for weight in model.parameters())
    assert (found.active < found.weights) == bool(design.experts)


def test_parts_bear_the_names_of_what_they_are():
    assert set(count_parameters(made(DESIGNS["gpt2"]))) == {
        "embedding",
        "positions",
        "norms",
        "attention",
        "feed-forward",
    }
    llama = count_parameters(made(DESIGNS["llama"]))
    assert llama["head"].weights == llama["embedding"].weights == 11 * 16
    assert llama["norms"].weights == 5 * 16
    assert count_parameters(made(DESIGNS["memory"]))["memory"].weights == 3 * 16


def test_a_token_uses_the_router_and_its_share_of_the_experts():
    part = count_parameters(made(DESIGNS["experts"]))["experts"]
    router, one = 2 * 4 * 16, 2 * 2 * 16 * 64
    assert (part.weights, part.active) == (router + 4 * one, router + 2 * one)


def products(model, backward):
    """Count what torch's own counter sees of the loss of a text as long as the context."""
    tokens = torch.randint(model.vocab, (1, model.context))
    with FlopCounterMode(display=False) as counter, set_checkpoint_early_stop(False):
        loss = model.loss(tokens, tokens)["loss"]
        if backward:
            loss.backward()
    return counter.get_total_flops() / model.context


@each
def test_flops_are_those_that_torch_counts(design):
    model = made(replace(design, mechanism="naive"))
    design = model.config
    # Naive attention computes hidden pairs too, and without a memory to read a last segment does not write.
    counted = count_flops(model, model.context, visible_keys=float(design.max_positions))
    if design.memory:
        assert products(model, False) < counted.forward < 1.2 * products(model, False)
        return
    assert products(model, False) == pytest.approx(counted.forward + (counted.heads - 1) * counted.head)
    assert products(model, True) == pytest.approx(counted.training)


def test_checkpointing_computes_blocks_once_more():
    model = made(replace(SMALL, mechanism="naive", checkpointing=True))
    counted = count_flops(model, 12, visible_keys=12.0)
    assert counted.training == 3 * counted.forward + counted.blocks
    assert products(model, True) == pytest.approx(counted.training)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("softmax", {}),
        ("alibi", {}),
        ("window", {"window": 5}),
        ("dilated", {"window": 3, "dilation": 2}),
        ("longformer", {"window": 4, "global_tokens": 1}),
        ("interleaved", {"stride": 4}),
        ("bigbird", {"block": 3, "window": 2, "globals": 1, "random": 1}),
    ],
)
def test_pairs_are_those_that_get_a_weight(name, settings):
    model = made(replace(SMALL, context=23, mechanism=name, settings=settings, positions="none"))
    steps = model.explain(torch.randint(11, (1, 23)))
    pairs = [int((step["weights"][0, 0] != 0).sum()) for step in steps]
    assert [23 * mean_visible_keys(model, one, 23) for one in model.iter_blocks()] == pytest.approx(pairs)
    assert count_flops(model, 23).looking == pytest.approx(4 * 16 * sum(pairs) / 23)


def test_sums_cost_the_same_after_any_length():
    model = made(replace(SMALL, context=4096, mechanism="linear"))
    assert count_flops(model, 16).looking == count_flops(model, 4096).looking == 2 * 4 * 16 * 8
    dense = made(replace(SMALL, context=4096))
    assert count_flops(dense, 4095).looking == 2 * 4 * 16 * 2048


@pytest.mark.parametrize("name", ["lsh", "local-p", "global"])
def test_who_sees_whom_by_content_is_told_by_weights(name):
    model = made(replace(SMALL, context=200, mechanism=name, positions="none"))
    one = next(model.iter_blocks())
    assert 1 <= mean_visible_keys(model, one, 40) <= 21
    assert mean_visible_keys(model, one, 200) > mean_visible_keys(model, one, 8)


@pytest.mark.parametrize(
    "changes", [{}, {"checkpointing": True}, {"mechanism": "interleaved"}, {"exits": True}]
)
def test_activations_grow_evenly_with_depth(changes):
    design, tokens = replace(SMALL, **changes), torch.randint(300, (1, 12))
    result = measure_activations(300, design, 12)
    for depth in (2, 6):
        block = result.checkpointed if design.checkpointing else result.block
        assert (
            count_activation_bytes(made(replace(design, depth=depth), 300), tokens)
            == result.ends + depth * block
        )


def test_a_block_keeps_what_its_gradient_needs_and_little_more():
    result = measure_activations(11, SMALL, 12)
    # Its input, normed, q k v, mixed, the sum, normed, widened and bent: 16 vectors of the model's width.
    assert 16 <= result.block / (4 * 12 * 16) <= 21
    assert result.checkpointed == 4 * 12 * 16


def test_scores_that_are_formed_grow_as_the_square_of_the_length():
    fused, formed = (
        [
            measure_activations(11, replace(SMALL, context=64, mechanism=name), length).block
            for length in (16, 32, 64)
        ]
        for name in ("softmax", "naive")
    )
    assert [fused[1] / fused[0], fused[2] / fused[1]] == pytest.approx([2, 2], rel=0.01)
    curved = formed[2] - 2 * formed[1], formed[1] - 2 * formed[0]
    assert curved[0] == pytest.approx(4 * curved[1], rel=0.01)
    assert curved[1] >= 4 * 2 * (32**2 - 2 * 16**2)  # one table of floats for each of two heads


def test_checkpointing_keeps_one_block_at_a_time():
    result = measure_activations(11, SMALL, 12)
    assert (
        result.total(8, checkpointing=True)
        == result.ends + 8 * result.checkpointed + result.block
        < result.total(8)
    )
    assert result.total(0, checkpointing=True) == result.total(0) == result.ends


@pytest.mark.parametrize("name", ["softmax", "window", "linear"])
def test_caches_say_themselves_what_they_keep(name):
    model = made(replace(SMALL, context=600, mechanism=name))
    result = summarize(11, model.config, seeds=()).cache
    assert result == measure_cache(model)
    assert result.full == sum(state.size for state in model.new_cache(1))
    assert result.token == result.full / 600
    if name == "softmax":
        assert result.token == 2 * 2 * 16 * 4
    else:
        assert result.token < 2 * 2 * 16 * 4


@each
def test_a_model_begins_at_a_guess(design):
    result = measure_first_loss(200, design)
    assert result.guess == math.log(200)
    assert result.mean == pytest.approx(result.guess, abs=0.05)
    assert result.mean == pytest.approx(sum(result.losses) / 3)
    assert 0 < result.deviation < 0.05


def test_looking_in_leaves_chance_as_it_was():
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    summarize(11, SMALL)
    assert torch.equal(torch.rand(3), want)


def test_a_model_larger_than_memory_is_counted_and_not_built():
    result = summarize(
        32000, ModelConfig(depth=200, dim=8192, context=4096, mlp="swiglu", tie_embeddings=False)
    )
    assert result.weights > 2**37
    assert result.loss is None
    assert result.activations == ()
    assert result.cache.full == 200 * 2 * 4096 * 8192 * 4


def test_the_tree_is_plain_and_says_the_same():
    result = summarize(11, SMALL)
    tree = json.loads(json.dumps(result.to_dict()))
    assert tree["parameters"]["total"] == result.weights
    assert tree["parameters"]["bytes"] == 4 * result.weights
    assert tree["flops_per_token"]["training"] == result.flops.training
    lengths = [(one["length"], one["dim"]) for one in tree["activations_per_text"]]
    assert lengths == [(1, 16), (3, 16), (6, 16), (12, 16), (12, 8), (12, 32)]
    assert tree["activations_per_text"][3]["total"] == result.activations[3].total(2)
    assert tree["first_loss"]["guess"] == math.log(11)


def shown(capsys, *words):
    assert main(["inspect", *map(str, words)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_a_run_is_looked_into(tmp_path, capsys):
    run = tiny_run(tmp_path / "run")
    tree = json.loads(shown(capsys, run, "--json"))
    assert (tree["vocab"], tree["design"]["dim"]) == (20, TINY.dim)
    words = shown(capsys, run)
    assert f"{tree['parameters']['total']:,}" in words
    assert "log V = 2.996" in words


def test_a_recipe_is_looked_into_without_a_run(tmp_path, capsys):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[model]\ndepth = 1\ndim = 16\n[data]\ntokenizer = 'bpe:300'\n")
    assert json.loads(shown(capsys, recipe, "--json"))["vocab"] == 300
    changed = json.loads(shown(capsys, recipe, "--vocab", 30, "--set", "model.experts=4", "--json"))
    assert changed["vocab"] == 30
    assert changed["parameters"]["active"] < changed["parameters"]["total"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere"], 2, "no recipe named 'nowhere'"),
        (["reader-small"], 2, "a reader's recipe"),
        (["RUN", "--vocab", "3"], 2, "leave out --set and --vocab"),
        (["RECIPE", "--vocab", "0"], 2, "vocab is 0; give 1 to"),
        (["RECIPE", "--set", "data.tokenizer=char"], 2, "say with --vocab how many"),
        (["RECIPE", "--set", "ngram=3"], 2, "counts n-grams; there is no network"),
        (["RECIPE", "--set", "model.heads=3"], 3, "heads is 3, which does not divide"),
        (["RECIPE", "--set", "model.mechanism=nystromformer"], 2, "lacks 'causal'"),
    ],
)
def test_what_cannot_be_looked_into_is_one_line(words, code, message, tmp_path, capsys):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[model]\ndepth = 1\ndim = 16\n")
    places = {"RUN": tiny_run(tmp_path / "run"), "RECIPE": recipe}
    assert main(["inspect", *(str(places.get(word, word)) for word in words)]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err
