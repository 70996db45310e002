"""Training data: pictures of text (``images``) and tokens of prepared text (``text``), which do not import
each other. May import image, text, config, files and errors; no torch.
"""
