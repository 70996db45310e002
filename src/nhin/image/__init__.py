"""Pictures as arrays: load, color, contrast, preprocess for the network; fonts, render and augment for
synthetic data. May import text, config and errors; no torch.
"""
