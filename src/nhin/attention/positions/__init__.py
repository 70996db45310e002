"""Position information: embeddings added to the inputs, and rotations of the heads (rotary and variants).

Biases of the scores are mechanisms: see ``bias``. May import the root of ``attention``; no other family.
"""

from nhin.attention.positions.learned import LearnedEmbedding
from nhin.attention.positions.rotary import Rotary
from nhin.attention.positions.rotary_2d import Rotary2d
from nhin.attention.positions.rotary_interleaved import permute_heads
from nhin.attention.positions.sinusoidal import SinusoidalEmbedding, sinusoidal
from nhin.attention.positions.sinusoidal_2d import sinusoidal_2d
from nhin.attention.positions.xpos import XPos

__all__ = [
    "LearnedEmbedding",
    "Rotary",
    "Rotary2d",
    "SinusoidalEmbedding",
    "XPos",
    "permute_heads",
    "sinusoidal",
    "sinusoidal_2d",
]
