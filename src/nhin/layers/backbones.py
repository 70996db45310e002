"""Convolutional backbones by name: from a crop to a feature map.

Every backbone divides the width by 4 and the height by 8, so a frame of features is always 4 pixels wide
(``image.preprocess.STRIDE``). Convolutions have no bias: a batch norm follows each.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from nhin.errors import UnknownName

Pictures = Float[Tensor, "B ink height width"]
Features = Float[Tensor, "B C rows frames"]
AnyFeatures = Float[Tensor, "B _ _ _"]

HEIGHT_STRIDE = 8


class Backbone(nn.Sequential):
    """A stack of convolutions with ``channels`` output channels."""

    def __init__(self, *parts: nn.Module, channels: int) -> None:
        super().__init__(*parts)
        self.channels = channels


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a residual connection (He et al. 2015, arXiv:1512.03385, basic block)."""

    def __init__(self, in_channels: int, out_channels: int, stride: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.first = build_conv(in_channels, out_channels, stride)
        self.second = build_conv(out_channels, out_channels, act=False)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != (1, 1):
            self.shortcut = build_conv(in_channels, out_channels, stride, kernel=1, act=False)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Features) -> AnyFeatures:
        """Add the output of two convolutions to x."""
        return self.act(self.second(self.first(x)) + self.shortcut(x))


def build_conv(
    in_channels: int, out_channels: int, stride: tuple[int, int] = (1, 1), kernel: int = 3, act: bool = True
) -> nn.Sequential:
    """Build a convolution with padding, a batch norm and a ReLU."""
    parts = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    return nn.Sequential(*parts, nn.ReLU(inplace=True)) if act else nn.Sequential(*parts)


def lean() -> Backbone:
    """Build the small default: 1.2 M weights, mostly at a quarter of the resolution."""
    return Backbone(
        build_conv(1, 32, (2, 2)),
        ResidualBlock(32, 48),
        ResidualBlock(48, 96, (2, 2)),
        ResidualBlock(96, 96),
        ResidualBlock(96, 192, (2, 1)),
        ResidualBlock(192, 192),
        channels=192,
    )


def wide() -> Backbone:
    """Build the form of ``lean`` with a third more channels: 2.7 M weights."""
    return Backbone(
        build_conv(1, 32, (2, 2)),
        ResidualBlock(32, 64),
        ResidualBlock(64, 128, (2, 2)),
        ResidualBlock(128, 128),
        ResidualBlock(128, 256, (2, 1)),
        ResidualBlock(256, 256),
        channels=256,
    )


def slim() -> Backbone:
    """Build a fifth of ``lean``'s work, for small networks: 0.3 M weights."""
    return Backbone(
        build_conv(1, 16, (2, 2)),
        build_conv(16, 32),
        build_conv(32, 64, (2, 2)),
        ResidualBlock(64, 64),
        build_conv(64, 96, (2, 1)),
        ResidualBlock(96, 96),
        channels=96,
    )


def tiny() -> Backbone:
    """Build one convolution per stage: for tests and for learning the structure."""
    return Backbone(
        build_conv(1, 8, (2, 2)), build_conv(8, 16, (2, 2)), build_conv(16, 24, (2, 1)), channels=24
    )


def resnet18() -> Backbone:
    """Build ResNet-18 whose last two stages do not divide the width (11 M weights)."""
    widths, strides = (64, 128, 256, 512), ((1, 1), (2, 2), (2, 1), (1, 1))
    parts: list[nn.Module] = [build_conv(1, 64, (2, 2))]
    channels = 64
    for width, stride in zip(widths, strides, strict=True):
        parts += [ResidualBlock(channels, width, stride), ResidualBlock(width, width)]
        channels = width
    return Backbone(*parts, channels=512)


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "lean": lean,
    "wide": wide,
    "slim": slim,
    "tiny": tiny,
    "resnet18": resnet18,
}


def build_backbone(name: str) -> Backbone:
    """Build a backbone by name.

    Raises:
        UnknownName: The name is not in ``BACKBONES``.
    """
    if name not in BACKBONES:
        raise UnknownName("backbone", name, BACKBONES)
    return BACKBONES[name]()
