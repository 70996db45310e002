"""Softmax attention without approximation: PyTorch's fused kernel, FlashAttention in tiles, and the
reference, ``naive``. May import the root of ``attention``; no other family.
"""
