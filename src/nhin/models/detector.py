"""The line detector: where the lines of a picture run, how tall they are, and which way they read.

::

    picture -> stride 4 -> stride 8 -> stride 16 -> stride 32
                  |            |            |           |
                  +-- + <----- + <--------- + <---------+  -> core, height, direction, tiny

Every pixel of the middle of a line, its *core*, is marked; cores of neighboring lines do not touch, so each
connected core is one line, straight or curved (kernels of lines: Wang et al. 2019, arXiv:1806.02559). In a
core the network also tells the height of capitals and the direction of reading, a unit vector.

The maps' resolutions and units: ``image.detector_maps``.

Source:  Lin et al. 2017, arXiv:1612.03144 (feature pyramid).
Differs: two values for each core in place of an expansion by a fixed ratio; one more map tells where text is
         too small to be read at this scale.
"""

from typing import Annotated

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nhin.ranges import Range

ColorPictures = Float[Tensor, "B 3 height width"]
Maps = Float[Tensor, "B channels rows columns"]
AnyMaps = Float[Tensor, "B _ _ _"]
_CORES, _FIELDS = 4, 4


def _conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class SeparableBlock(nn.Module):
    """A convolution of each channel on its own, then one across channels, added to the input."""

    def __init__(self, channels: int, kernel: int = 5) -> None:
        super().__init__()
        self.each = nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.mix = _conv(channels, channels, kernel=1)

    def forward(self, x: Maps) -> Maps:
        """Add the output of both convolutions to x."""
        return x + self.mix(self.norm(self.each(x)))


class DetectorNet(nn.Module):
    """Finds lines of text.

    Args:
        width: Channels at stride 4; deeper maps have two to four times as many.
        depth: Separable blocks at each of the strides 16 and 32.
    """

    def __init__(
        self, *, width: Annotated[int, Range(1, 1024)] = 32, depth: Annotated[int, Range(0, 64)] = 3
    ) -> None:
        super().__init__()
        wide, deep = 2 * width, 3 * width
        self.stem = nn.Sequential(_conv(3, width // 2, 2), _conv(width // 2, width, 2), _conv(width, width))
        self.middle = nn.Sequential(_conv(width, wide, 2), _conv(wide, wide), _conv(wide, wide))
        self.coarse = nn.Sequential(_conv(wide, deep, 2), *(SeparableBlock(deep) for _ in range(depth)))
        self.coarsest = nn.Sequential(
            _conv(deep, deep, 2, kernel=1), *(SeparableBlock(deep) for _ in range(depth))
        )
        self.from_coarsest = _conv(deep, deep, kernel=1)
        self.from_coarse = nn.Sequential(SeparableBlock(deep), _conv(deep, wide, kernel=1))
        self.from_middle = nn.Sequential(SeparableBlock(wide), _conv(wide, width, kernel=1))
        self.fuse = _conv(width, width)
        self.head = nn.Conv2d(width, _CORES + _FIELDS, 1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias[:_CORES], -2.0)  # most pixels belong to no line

    def forward(self, pictures: ColorPictures) -> tuple[AnyMaps, AnyMaps]:
        """Return the core logits (B x 1, at stride 2) and the fields (B x 4, at stride 4) of pictures.

        Args:
            pictures: RGB, -1 to 1, sides multiples of 32.

        Returns:
            The logits, and: log2 height, direction (x to the right, y downwards), logit of tiny text.
        """
        fine = self.stem(pictures)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        up = coarse + _enlarge(self.from_coarsest(self.coarsest(coarse)))
        up = middle + _enlarge(self.from_coarse(up))
        maps = self.head(self.fuse(fine + _enlarge(self.from_middle(up))))
        return F.pixel_shuffle(maps[:, :_CORES], 2), maps[:, _CORES:]


def _enlarge(maps: AnyMaps) -> AnyMaps:
    return F.interpolate(maps, scale_factor=2.0, mode="nearest")


def compute_detector_loss(
    logits: AnyMaps, fields: AnyMaps, cores: AnyMaps, targets: AnyMaps, weights: AnyMaps
) -> dict[str, Tensor]:
    """Return the loss of the maps of pictures.

    Args:
        logits: Core logits, B x 1 at stride 2.
        fields: B x 4 at stride 4, as ``DetectorNet`` returns them.
        cores: 1 in a core, 0 elsewhere, -1 where neither is wrong; B x 1 at stride 2.
        targets: log2 height, direction and tiny text (0 or 1, -1: not told); B x 4 at stride 4.
        weights: 1 where height and direction are known, else 0; B x 1 at stride 4.

    Returns:
        ``loss`` and its terms, scalars in float32.
    """
    logits, fields = logits.float(), fields.float()
    known = (cores >= 0).float()
    is_core = (cores > 0).float()
    pixels = F.binary_cross_entropy_with_logits(logits, is_core, reduction="none") * known
    # As many of the hardest empty pixels as there are pixels of cores, three times, count in full.
    share = is_core.mean().clamp(0.02, 1)
    core = (pixels * is_core).mean() / share + (pixels * (1 - is_core)).mean() / share.sqrt()
    chance = logits.sigmoid() * known
    dice = 1 - (2 * (chance * is_core).sum() + 1) / (chance.square().sum() + is_core.sum() + 1)
    mass = weights.sum().clamp_min(1)
    height = ((fields[:, :1] - targets[:, :1]).abs() * weights).sum() / mass
    turn = ((fields[:, 1:3] - targets[:, 1:3]).square().sum(1, keepdim=True) * weights).sum() / mass
    told = (targets[:, 3:] >= 0).float()
    tiny = F.binary_cross_entropy_with_logits(
        fields[:, 3:], targets[:, 3:].clamp_min(0), weight=told, reduction="mean"
    )
    loss = core + dice + height + turn + tiny
    terms = {"core": core, "dice": dice, "height": height, "turn": turn, "tiny": tiny}
    return {"loss": loss, **{name: value.detach() for name, value in terms.items()}}
