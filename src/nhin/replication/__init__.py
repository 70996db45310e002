"""The experiments of arXiv:2310.11685, softmax against linear attention, and what lies beyond them."""
