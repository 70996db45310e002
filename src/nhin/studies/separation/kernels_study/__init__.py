"""Beyond arXiv:2310.11685: its test for other kernels, and training where its weights are random."""
