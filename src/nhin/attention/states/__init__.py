"""What mechanisms remember while they decode; ``attention.base.State`` is the interface."""

from nhin.attention.states.everything import KeyValues
from nhin.attention.states.hashed import HashedKeyValues
from nhin.attention.states.rolling import Rolling
from nhin.attention.states.sums import RunningSums

STATES = {"everything": KeyValues, "hashed": HashedKeyValues, "rolling": Rolling, "sums": RunningSums}

__all__ = ["STATES", "HashedKeyValues", "KeyValues", "Rolling", "RunningSums"]
