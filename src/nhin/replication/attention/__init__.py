"""The families with attention: matrices of one spike, classes and a constant column."""
