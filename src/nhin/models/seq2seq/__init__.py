"""Encoder-decoder models: recurrent ones with a fixed vector or an alignment, and a Transformer."""
