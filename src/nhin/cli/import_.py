"""``nhin import``: a run from a Hugging Face folder."""

import sys
from pathlib import Path


def import_(folder: Path, /, *, out: Path) -> int:
    """Import a language model from a Hugging Face folder as a run, to sample from, measure and inspect.

    GPT-2, Llama, Qwen 2 and Qwen 3 are supported, with tokenizers of byte pairs. Only JSON and safetensors
    are read; nothing is downloaded, and no code in the folder is run. nhin train RUN trains on from it.

    Args:
        folder: The model's folder.
        out: Folder of the run; new or empty.
    """
    from nhin.lm.huggingface.import_ import import_folder

    result = import_folder(folder, out)
    config = result.config
    sys.stdout.write(
        f"{out}: {result.format}, {result.weights:,} weights, depth {config.depth}, dim {config.dim}, "
        f"context {config.context}, {result.tokenizer.vocab} tokens"
        + (f"; {result.unused_rows} rows beyond them are left out\n" if result.unused_rows else "\n")
    )
    return 0
