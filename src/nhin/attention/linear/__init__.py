"""Attention with positive features instead of a softmax: elu + 1, ReLU, exp, Performer; chunked for causal,
recurrent for decoding. May import the root of ``attention``; no other family.
"""
