"""Time, memory and operations of attention mechanisms, measured beside PyTorch's own kernel."""
