"""The detector's maps, and the loss that they are learnt by."""

import torch

from nhin.models.detector import DetectorNet, compute_detector_loss


def draw_maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cores, fields and weights of two pictures of 32 x 64."""
    generator = torch.Generator().manual_seed(seed)
    cores = (torch.rand(2, 1, 16, 32, generator=generator) < 0.3).float()
    fields = torch.rand(2, 4, 8, 16, generator=generator)
    fields[:, 3] = (fields[:, 3] > 0.5).float()
    return cores, fields, torch.ones(2, 1, 8, 16)


def test_maps_have_a_half_and_a_quarter_of_the_sides():
    logits, fields = DetectorNet(width=4, depth=1)(torch.zeros(2, 3, 64, 96))
    assert logits.shape == (2, 1, 32, 48)
    assert fields.shape == (2, 4, 16, 24)


def test_perfect_maps_cost_nothing():
    cores, targets, weights = draw_maps()
    fields = targets.clone()
    fields[:, 3] = (targets[:, 3] * 2 - 1) * 30
    loss = compute_detector_loss((cores * 2 - 1) * 30, fields, cores, targets, weights)["loss"]
    assert loss.item() < 0.01


def test_where_nothing_is_told_nothing_is_learnt():
    cores, targets, weights = draw_maps()
    cores[:, :, :8] = -1
    targets[:, 3, :4] = -1
    weights[:, :, :4] = 0
    logits = torch.zeros_like(cores, requires_grad=True)
    fields = torch.zeros_like(targets, requires_grad=True)
    compute_detector_loss(logits, fields, cores, targets, weights)["loss"].backward()
    assert logits.grad is not None
    assert fields.grad is not None
    assert not logits.grad[:, :, :8].any()
    assert not fields.grad[:, :, :4].any()
    assert logits.grad[:, :, 8:].any()
    assert fields.grad[:, :, 4:].any()


def test_a_picture_without_lines_has_a_finite_loss():
    logits, fields = torch.zeros(1, 1, 16, 16), torch.zeros(1, 4, 8, 8)
    losses = compute_detector_loss(
        logits, fields, torch.zeros_like(logits), torch.zeros_like(fields), torch.zeros(1, 1, 8, 8)
    )
    assert all(bool(value.isfinite()) for value in losses.values())
