"""The command that takes in a language model from elsewhere."""

import sys
from pathlib import Path


def import_(folder: Path, /, *, out: Path) -> int:
    """Make a run of a language model in Hugging Face's layout, to sample from, measure and look into.

    GPT-2 and Llama are known, with byte pairs under GPT-2's cutting. Only what lies in the folder is read:
    config.json, safetensors and tokenizer.json; nothing is fetched, and no code in it is run.

    Args:
        folder: The model's folder.
        out: Folder of the run, new or empty.
    """
    from nhin.lm.huggingface.import_ import import_folder

    done = import_folder(folder, out)
    design = done.config
    sys.stdout.write(
        f"{out}: {done.format}, {done.weights:,} weights, depth {design.depth}, dim {design.dim}, "
        f"context {design.context}, {done.tokenizer.vocab} tokens\n"
    )
    return 0
