"""What mechanisms remember while they decode; ``attention.base.State`` is the interface."""

from nhin.attention.states.everything import KeyValues

__all__ = ["KeyValues"]
