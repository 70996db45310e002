"""Building blocks of networks: attention layers, MLPs, norms, Transformer blocks, CNN backbones, factored
characters. May import attention, text, image, config and errors; knows nothing of whole models, data or
training.
"""
