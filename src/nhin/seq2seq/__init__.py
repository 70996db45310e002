"""The workflow of encoder-decoder models: recipe, training, evaluation, decoding."""
