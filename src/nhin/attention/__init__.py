"""Attention mechanisms behind one contract, built by name: ``build("window", window=64)``.

Each folder is a family with its own arithmetic and cache. Families import the modules beside this one, never
each other; those import only each other and ``errors``. ``registry`` and ``position_registry`` list them all.
"""

from nhin.attention.base import Cache, Facts, Mechanism
from nhin.attention.registry import MECHANISMS, build

__all__ = ["MECHANISMS", "Cache", "Facts", "Mechanism", "build"]
