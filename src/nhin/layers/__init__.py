"""Building blocks of networks: attention layers, MLPs, norms, Transformer blocks, CNN backbones, factored
characters. May import attention, text, image and what is below them; knows nothing of whole models, data or
training.
"""
