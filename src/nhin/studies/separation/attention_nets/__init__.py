"""Self- and cross-attention: matrices with one spike, classes of equal rows and a constant column."""
