"""What attention adds to an encoder-decoder model: accuracy by length, alignment, cost of a step."""
