"""Laws of encoder-decoder models, the same for every decoder, score and alignment."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from nhin.errors import UsageError
from nhin.models.seq2seq.config import Seq2SeqConfig
from nhin.models.seq2seq.network import Seq2Seq, decode_greedily
from nhin.text.charset import EOS, PAD, SOS

TINY = Seq2SeqConfig(dim=8, heads=2, context=9, reach=2)
SCORES = ("additive", "dot", "general", "concat", "location")
CONFIGS = {
    "fixed": replace(TINY, decoder="fixed"),
    "bahdanau": replace(TINY, decoder="bahdanau"),
    "transformer": replace(TINY, decoder="transformer"),
    "lstm": replace(TINY, decoder="luong", cell="lstm", depth=2),
    "rnn": replace(TINY, decoder="fixed", cell="rnn", directions=1, depth=2),
    "one direction": replace(TINY, cell="lstm", directions=1),
    "feeding": replace(TINY, decoder="luong", input_feeding=True),
    "local-m": replace(TINY, decoder="luong", alignment="local-m"),
    "local-p": replace(TINY, decoder="luong", alignment="local-p"),
    "local-m, feeding": replace(TINY, decoder="luong", alignment="local-m", input_feeding=True),
    "bahdanau, local-m": replace(TINY, alignment="local-m", reach=1),
    "bahdanau, local-p": replace(TINY, alignment="local-p", score="dot"),
    **{f"luong, {score}": replace(TINY, decoder="luong", score=score) for score in SCORES},
}
SOURCE = torch.tensor([[4, 5, 6, 7, 5], [6, 4, PAD, PAD, PAD], [7, 7, 7, PAD, PAD]])
TARGET = torch.tensor([[SOS, 4, 5, 6, EOS], [SOS, 5, EOS, PAD, PAD], [SOS, 6, 6, EOS, PAD]])


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def model(request):
    torch.manual_seed(1)
    return Seq2Seq(8, 7, request.param).double().eval()


def test_steps_one_at_a_time_equal_all_at_once(model):
    memory = model.encode(SOURCE)
    whole, queries, _ = model.decode(TARGET, memory, model.start(memory))
    weights = model.align(queries, memory)
    state = model.start(memory)
    for t in range(TARGET.shape[1]):
        step = state.step
        logits, query, state = model.decode(TARGET[:, t : t + 1], memory, state)
        assert_close(logits[:, 0], whole[:, t])
        assert_close(model.align(query, memory, step)[:, 0], weights[:, t])


def test_a_row_alone_equals_its_row_in_a_padded_batch(model):
    whole = model(SOURCE, TARGET)
    for row, (source, target) in enumerate(zip(SOURCE, TARGET, strict=True)):
        source = source[source != PAD][None]
        assert_close(model(source, target[None])[0], whole[row])


def test_alignment_weights_are_shares_of_what_is_no_padding(model):
    memory = model.encode(SOURCE)
    _, queries, _ = model.decode(TARGET, memory, model.start(memory))
    weights = model.align(queries, memory)
    assert weights.shape == (*TARGET.shape, SOURCE.shape[1])
    assert (weights >= 0).all()
    assert weights[:, :, :].masked_select((SOURCE == PAD)[:, None]).abs().sum() == 0
    sums = weights.sum(-1)
    if not model.has_alignment:
        assert sums.abs().max() == 0
    elif model.config.alignment == "global":
        assert_close(sums, torch.ones_like(sums))
    else:  # a Gaussian takes some away, and a short source may end before the window
        assert sums.max() <= 1 + 1e-9


def test_every_parameter_gets_a_gradient(model):
    # Beyond the first words a decoder has nothing of its own to attend with.
    model.loss(SOURCE, TARGET).backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    # A location scores more positions than this source has; they are one matrix with those it has.
    assert not idle


def test_input_feeding_feeds_the_attentional_state_that_the_token_was_written_from():
    torch.manual_seed(0)
    model = Seq2Seq(8, 7, CONFIGS["feeding"]).eval()
    memory = model.encode(SOURCE)
    logits, _, state = model.decode(TARGET, memory, model.start(memory))
    assert_close(model.head(state.feed), logits[:, -1])


def test_rows_that_are_selected_go_on_by_themselves(model):
    picked = torch.tensor([2, 0, 2])
    memory = model.encode(SOURCE)
    _, _, state = model.decode(TARGET[:, :2], memory, model.start(memory))
    whole = model.decode(TARGET[:, 2:3], memory, state)[0]
    chosen = model.decode(TARGET[picked, 2:3], memory.select(picked), state.select(picked))[0]
    assert_close(chosen, whole[picked])


def test_greedy_decoding_takes_the_likeliest_token_given_those_before(model):
    for source, target in zip(SOURCE, decode_greedily(model, SOURCE, 4), strict=True):
        fed = torch.tensor([[SOS, *target]])
        likeliest = model(source[None], fed)[0].argmax(-1).tolist()
        assert likeliest[: len(target)] == target
        assert len(target) == 4 or likeliest[len(target)] == EOS


def test_a_loss_is_the_mean_over_tokens_or_over_a_given_number():
    torch.manual_seed(0)
    model = Seq2Seq(8, 7, TINY)
    tokens = int((TARGET[:, 1:] != PAD).sum())
    assert_close(model.loss(SOURCE, TARGET), model.loss(SOURCE, TARGET, 1.0) / tokens)


def test_attention_costs_as_many_weights_as_a_transformer_of_the_same_width():
    sizes = {}
    for decoder in ("luong", "bahdanau", "transformer"):
        model = Seq2Seq(8, 7, replace(TINY, decoder=decoder, dim=64))
        sizes[decoder] = sum(p.numel() for p in model.parameters())
    assert max(sizes.values()) < 1.5 * min(sizes.values())


@pytest.mark.parametrize(
    "changes",
    [
        {"decoder": "fixed", "score": "dot"},
        {"decoder": "transformer", "alignment": "local-p"},
        {"decoder": "bahdanau", "input_feeding": True},
        {"dim": 7},
        {"decoder": "transformer", "dim": 6},
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes):
    with pytest.raises(UsageError):
        Seq2Seq(8, 7, replace(TINY, **changes))
