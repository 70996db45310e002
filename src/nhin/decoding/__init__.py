"""From logits to tokens: sampling, beam search, CTC, draft-and-verify, on NumPy arrays through small
protocols. May import data, text and below; neither torch, training nor metrics.
"""
