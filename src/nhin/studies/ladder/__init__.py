"""The ladder: n-grams and networks from one head to deep stacks, trained alike on one text and compared."""
