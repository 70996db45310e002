"""``nhin import``: a run from a Hugging Face folder."""

import sys
from pathlib import Path


def import_(folder: Path, /, *, out: Path) -> int:
    """Import a language model from a Hugging Face folder as a run, to sample from, measure and inspect.

    GPT-2 and Llama are supported, with byte pairs and GPT-2's pre-tokenizer. Only config.json, tokenizer.json
    and safetensors are read; nothing is downloaded, and no code in the folder is run.

    Args:
        folder: The model's folder.
        out: Folder of the run; new or empty.
    """
    from nhin.lm.huggingface.import_ import import_folder

    result = import_folder(folder, out)
    config = result.config
    sys.stdout.write(
        f"{out}: {result.format}, {result.weights:,} weights, depth {config.depth}, dim {config.dim}, "
        f"context {config.context}, {result.tokenizer.vocab} tokens\n"
    )
    return 0
