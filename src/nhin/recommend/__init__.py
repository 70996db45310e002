"""Which attention mechanism for a length, a phase, a memory and a quality: answered by measurements."""
