"""How good an answer is: error rates, edit distance, errors by part of a character, calibration, perplexity,
statistics. May import data, text and below; neither torch, training nor decoding.
"""
