"""One trainer for every task: its state and checkpoints, optimizers, several processes, logs and plots."""
