"""Export a run to a Hugging Face folder and import one: config.json, safetensors, tokenizer.json.

``gpt2`` and ``llama`` are the checkpoint formats; ``formats`` is what each must provide.
"""
