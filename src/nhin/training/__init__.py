"""One trainer for every workflow: train state, checkpoints, optimizers, learning rates, several processes.
May import config, files, format and errors; knows nothing of pictures, text or models.
"""
