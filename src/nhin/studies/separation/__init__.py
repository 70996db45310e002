"""The numerical experiments of arXiv:2310.11685, softmax against linear attention, and beyond."""
