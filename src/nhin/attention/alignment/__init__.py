"""Attention of encoder-decoder models: the scores of Bahdanau and Luong, over all keys or around one
position. May import the root of ``attention``; no other family.
"""
