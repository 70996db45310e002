"""Softmax attention with a bias that depends on the distance (ALiBi, T5); ``kernel`` adds it block by block.
May import the root of ``attention``; no other family.
"""
