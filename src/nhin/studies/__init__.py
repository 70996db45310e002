"""Experiments on top of the core, which imports none of them: the ladder and the separation study."""
