"""The ladder: every rung from n-grams to deep stacks on one text, and what each buys."""
