"""Softmax regression: vectors of uniform numbers, in D1 with one spike."""
