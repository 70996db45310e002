"""Softmax over blocks or columns of keys, as in Sparse Transformer and BigBird.

``layouts`` says which keys, ``tiles`` cuts them, ``kernel`` computes. May import the root of
``attention``; no other family.
"""
