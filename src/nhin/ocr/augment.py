"""Augmentation of a batch on the device that trains: every use of a picture differs.

Random numbers are torch's, which the trainer seeds for every step.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nhin.layers.backbones import Pictures

_MAX_SHIFT = 2
_NOISE, _OFFSET, _GAIN = 12 / 127.5, 20 / 127.5, 0.4


def augment(pictures: UInt8[Tensor, "B height width"], strength: float = 1.0) -> Pictures:
    """Shift, invert, add noise to and change the contrast of each picture of a batch.

    Args:
        pictures: Preprocessed crops.
        strength: Scales the probabilities and the sizes; 0 changes nothing.

    Returns:
        The crops for the network, in [-1, 1].
    """
    x = (pictures.float() - 127.5) / 127.5
    if strength:
        x = _change_contrast(_shift(x, strength), strength)
        rows = (_draw(len(x)) < 0.3 * strength).to(x.device)
        size = rows * _NOISE * strength * _draw(len(x)).to(x.device)
        x = (x + size[:, None, None] * torch.randn_like(x)).clamp(-1, 1)
    return x[:, None]


def _draw(count: int) -> Float[Tensor, " B"]:
    """Draw a number from 0 to 1 for each picture, on the CPU: the same for every device."""
    return torch.rand(count)


def _shift(x: Float[Tensor, "B height width"], strength: float) -> Float[Tensor, "B height width"]:
    """Move each picture by up to two pixels; its edge is repeated."""
    count, height, width = x.shape

    def index(length: int) -> Tensor:
        by = torch.randint(-_MAX_SHIFT, _MAX_SHIFT + 1, (count,)) * (_draw(count) < 0.5 * strength)
        return (torch.arange(length) + by[:, None]).clamp(0, length - 1).to(x.device)

    rows, columns = index(height), index(width)
    return x[torch.arange(count, device=x.device)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _change_contrast(x: Float[Tensor, "B height width"], strength: float) -> Float[Tensor, "B height width"]:
    """Reduce the contrast of some pictures, invert some, and make all a little lighter or darker."""
    count = len(x)
    gain = 1 - _GAIN * strength * _draw(count) * (_draw(count) < 0.4)
    gain = torch.where(_draw(count) < 0.15 * min(1.0, strength), -gain, gain)
    offset = _OFFSET * strength * (_draw(count) - 0.5)
    return x * gain[:, None, None].to(x.device) + offset[:, None, None].to(x.device)
