"""One trainer for every workflow, and what it needs: train state, checkpoints, optimizers, learning rates,
several processes. May import config, files and errors; knows nothing of pictures, text or models.
"""
