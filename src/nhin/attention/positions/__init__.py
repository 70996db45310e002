"""Ways to tell a mechanism where a query or a key stands."""

from nhin.attention.positions.learned import LearnedEmbedding
from nhin.attention.positions.rotary import Rotary
from nhin.attention.positions.rotary_2d import Rotary2d
from nhin.attention.positions.rotary_interleaved import permute_heads
from nhin.attention.positions.sinusoidal import sinusoidal
from nhin.attention.positions.sinusoidal_2d import sinusoidal_2d
from nhin.attention.positions.xpos import XPos

__all__ = [
    "LearnedEmbedding",
    "Rotary",
    "Rotary2d",
    "XPos",
    "permute_heads",
    "sinusoidal",
    "sinusoidal_2d",
]
