"""The recognizer network: shapes, independence of the batch, and that it can learn."""

import pytest
import torch
from torch import nn

from nhin.errors import ShapeError, UnknownName
from nhin.image.preprocess import STRIDE
from nhin.layers.backbones import BACKBONES, HEIGHT_STRIDE, build_backbone
from nhin.layers.factored_char import FactoredCharEmbedding, FactoredCharLinear, build_factor_matrix
from nhin.models.recognizer import RecognizerNet
from nhin.text.charset import PAD, SOS, VIETNAMESE, Charset

SMALL = Charset("aáàăắâbcđo ")


def small(**changes: object) -> RecognizerNet:
    torch.manual_seed(0)
    return RecognizerNet(
        SMALL, **{"backbone": "tiny", "dim": 32, "depth": 1, "decoder_depth": 1, "heads": 2, **changes}
    )


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("width", [32, 80])
def test_every_backbone_shrinks_by_the_same_factors(name, width):
    net = build_backbone(name).eval()
    out = net(torch.randn(2, 1, 40, width))
    assert out.shape == (2, net.channels, 40 // HEIGHT_STRIDE, width // STRIDE)


def test_both_heads_return_logits_of_every_id_at_every_position():
    ctc, logits = small()(torch.randn(3, 1, 40, 64), torch.full((3, 5), SOS))
    assert ctc.shape == (3, 16, len(SMALL))
    assert logits.shape == (3, 5, len(SMALL))


def test_a_crop_gives_the_same_logits_alone_and_in_a_batch():
    net = small().eval()
    pictures, tokens = torch.randn(5, 1, 40, 48), torch.randint(1, len(SMALL), (5, 6))
    with torch.inference_mode():
        together = net(pictures, tokens)
        for i in range(5):
            for one, all_ in zip(net(pictures[i : i + 1], tokens[i : i + 1]), together, strict=True):
                torch.testing.assert_close(one[0], all_[i], atol=1e-5, rtol=1e-5)


def test_the_decoder_is_causal():
    net = small().eval()
    memory = net.encode(torch.randn(1, 1, 40, 48))[0]
    tokens = torch.tensor([[SOS, 4, 5, 6]])
    other = torch.tensor([[SOS, 4, 5, 9]])
    torch.testing.assert_close(net.decode(memory, tokens)[:, :3], net.decode(memory, other)[:, :3])


def test_it_learns_a_few_pictures_by_heart():
    net = small(token_noise=0.0)  # a letter misread at the last step would decide what that step costs
    pictures, texts = torch.randn(4, 1, 40, 48), [[4, 5], [6], [], [7, 4, 4]]
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    first = net.loss(pictures, texts)["loss"].item()
    for _ in range(80):
        optimizer.zero_grad()
        parts = net.loss(pictures, texts)
        parts["loss"].backward()
        optimizer.step()
    assert parts["decoder"] < 0.3
    assert parts["loss"] < first / 5
    assert all(p.grad is not None for p in net.parameters())


def test_a_text_longer_than_its_frames_still_gives_a_finite_loss():
    parts = small().loss(torch.randn(1, 1, 40, 32), [[4] * 20])
    assert torch.isfinite(parts["loss"])


def test_misreading_touches_letters_only_and_only_in_training():
    net = small(token_noise=1.0)
    tokens = torch.tensor([[SOS, 4, 5, PAD]]).repeat(50, 1)
    changed = net._add_token_noise(tokens)
    assert (changed[:, [0, 3]] == tokens[:, [0, 3]]).all()
    assert (changed[:, 1:3] != tokens[:, 1:3]).any()
    assert (net.eval()._add_token_noise(tokens) == tokens).all()


def test_letters_share_the_weights_of_their_parts():
    layer = FactoredCharLinear(SMALL, 8)
    ids = {char: i for i, char in enumerate(SMALL.chars, start=4)}
    with torch.no_grad():
        layer.own.zero_()
    weight = layer.weight()
    tone, mark = weight[ids["á"]] - weight[ids["a"]], weight[ids["ă"]] - weight[ids["a"]]
    level = weight[ids["ắ"]] - weight[ids["ă"]]
    torch.testing.assert_close(tone, level)
    torch.testing.assert_close(weight[ids["ắ"]], weight[ids["a"]] + tone + mark)


def test_every_letter_has_four_parts_and_special_tokens_none():
    counts = build_factor_matrix(VIETNAMESE).sum(1)
    assert (counts[:4] == 0).all()
    assert (counts[4:] == 4).all()


def test_the_embedding_is_a_row_of_the_weight():
    table = FactoredCharEmbedding(SMALL, 8)
    ids = torch.tensor([[4, 7], [0, 2]])
    torch.testing.assert_close(table(ids), table.weight()[ids])


def test_wrong_settings_say_what_is_allowed():
    with pytest.raises(UnknownName, match="resnet18"):
        small(backbone="resnet81")
    with pytest.raises(ShapeError, match="multiple of 8"):
        small(height=42)


def test_weights_and_buffers_survive_a_state_dict():
    one, other = small(), small()
    with torch.no_grad():
        for p in one.parameters():
            nn.init.normal_(p)
    other.load_state_dict(one.state_dict())
    assert all(
        (a == b).all() for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )
    assert not any("parts" in name or "table" in name for name in one.state_dict())


def test_the_weights_of_cross_attention_mix_the_values_that_the_decoder_adds():
    model = RecognizerNet(backbone="tiny", dim=32, depth=1, decoder_depth=2, heads=4).eval()
    memory, tokens = torch.randn(2, 9, 32), torch.randint(4, 90, (2, 5))
    inputs = []
    for block in model.decoder:
        block.cross.register_forward_hook(
            lambda cross, args, options, out: inputs.append((cross, args[0], out)), with_kwargs=True
        )
    with torch.no_grad():
        layers = model.cross_attention(memory, tokens)
        assert len(layers) == len(inputs) == 2
        for weights, (cross, x, out) in zip(layers, inputs, strict=True):
            assert weights.shape == (2, 4, 5, 9)
            values = cross.key_value(memory).unflatten(-1, (2, 4, 8))[:, :, 1]
            mixed = torch.einsum("bhts,bshd->bthd", weights, values)
            torch.testing.assert_close(cross.out(mixed.flatten(-2)), out)
            assert torch.equal(weights, cross.context_weights(x, memory))


def test_a_grid_of_cells_is_the_feature_map_column_by_column_and_each_cell_has_its_own_place():
    model = small(memory="grid", depth=0).eval()
    pictures = torch.randn(2, 1, 40, 48)
    with torch.no_grad():
        memory, ctc = model.encode(pictures)
        features = model.backbone(pictures)
        cells = features.permute(0, 3, 2, 1).flatten(1, 2)
        plain = model.settle(model.flatten(cells)) + model.positions.table[: cells.shape[1]]
        torch.testing.assert_close(memory, model.encoder_norm(plain))
    assert memory.shape == (2, 5 * 12, 32)
    assert ctc.shape == (2, 12, len(SMALL))


def test_plain_letters_share_no_weights_and_learn_as_factored_ones_do():
    model = small(letters="plain", memory="grid", ctc=0.0)
    assert not any(isinstance(module, FactoredCharLinear) for module in model.modules())
    losses = model.loss(torch.randn(2, 1, 40, 48), [[5, 6], [7]])
    torch.testing.assert_close(losses["loss"], losses["decoder"])
    losses["loss"].backward()
    assert model.embedding.weight.grad[5].abs().sum() > 0
    assert model.embedding.weight.grad[9].abs().sum() == 0
