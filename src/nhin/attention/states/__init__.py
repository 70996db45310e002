"""What mechanisms remember while they decode; ``attention.base.State`` is the interface."""

from nhin.attention.states.everything import KeyValues
from nhin.attention.states.rolling import Rolling
from nhin.attention.states.sums import RunningSums

__all__ = ["KeyValues", "Rolling", "RunningSums"]
