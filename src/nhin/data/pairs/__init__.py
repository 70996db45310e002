"""Pairs of sequences to train on: drawn by rules without end (numbers, dates, reverse, copy), or a text with
and without its marks. No torch.
"""
