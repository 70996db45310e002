"""Augmentation on the device: what it keeps, and that strength 0 is none."""

import torch

from nhin.image.preprocess import to_batch
from nhin.ocr.augment import augment

PICTURES = torch.randint(0, 256, (16, 40, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_strength_0_only_scales_to_the_range_of_the_network():
    assert torch.allclose(augment(PICTURES, 0.0), torch.from_numpy(to_batch(list(PICTURES.numpy()))))


def test_every_picture_stays_in_its_range_and_differs_at_the_next_use():
    torch.manual_seed(0)
    first, second = augment(PICTURES), augment(PICTURES)
    assert first.shape == (16, 1, 40, 48)
    assert first.abs().max() <= 1
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_same_seed_gives_the_same_pictures():
    torch.manual_seed(3)
    first = augment(PICTURES)
    torch.manual_seed(3)
    assert torch.equal(first, augment(PICTURES))
