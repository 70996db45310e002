"""Text into shards of tokens and back: sources (hub), splits, prepare (writer, manifest), token_dataset,
sampler. May import text.tokenizers, config, files and errors; nothing of ``data.images``, no torch.
"""
