"""nhin: attention mechanisms behind one contract, and a reader of Vietnamese text."""
