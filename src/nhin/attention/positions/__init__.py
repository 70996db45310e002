"""Ways to tell a mechanism where a query or a key stands."""

from nhin.attention.positions.learned import Learned
from nhin.attention.positions.rotary import Rotary
from nhin.attention.positions.sinusoidal import sinusoidal

__all__ = ["Learned", "Rotary", "sinusoidal"]
