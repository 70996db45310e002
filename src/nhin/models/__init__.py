"""Whole networks: GPT with early exits or recurrent memory, the text recognizer, their config and initial
weights. May import layers and what is below them; knows nothing of data, training or decoding.
"""
