"""Attention on a GPU: Triton kernels of our own, and sparse patterns on FlexAttention."""
