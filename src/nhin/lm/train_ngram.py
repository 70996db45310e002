"""Train an n-gram model into a run folder, as a network would be."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TextIO

import numpy as np
import torch
from numpy.typing import NDArray

from nhin.config import to_dict
from nhin.errors import CheckpointError, DataError, UsageError
from nhin.files import write_atomic
from nhin.lm.ngram import check_sizes, count_ngrams
from nhin.lm.recipe import LMRecipe
from nhin.lm.resume import NGRAM_RULES
from nhin.text.tokenizers import Tokenizer
from nhin.training import checkpoint as checkpoints
from nhin.training.distributed import join_process_group
from nhin.training.logger import Log
from nhin.training.resume import DATA, compare_data, compare_files, compare_recipes
from nhin.training.run_dir import lock_run_dir

MAX_BYTES = 2**32
_BYTES_PER_GRAM = 32


class TokenReader(Protocol):
    """A sequence of tokens, read in slices."""

    def __len__(self) -> int:
        """Return the number of tokens."""
        ...

    def read(self, start: int, stop: int, /) -> NDArray[np.int64]:
        """Return the tokens from ``start`` to before ``stop``."""
        ...


def train_ngram(
    recipe: LMRecipe,
    split: TokenReader,
    tokenizer: Tokenizer,
    out: Path | str,
    resume: bool = False,
    screen: TextIO | None = None,
    data: Mapping[str, str] | None = None,
) -> Path:
    """Count the n-grams of a text into a run folder: recipe.json, log.jsonl and checkpoint/.

    Of several processes the first counts, and the others wait for it.

    Args:
        recipe: Its ``ngram`` is the order.
        split: The tokens to count.
        tokenizer: Their tokenizer.
        out: The run's folder; made when missing.
        resume: Leave a run in the folder as it is; counting has no partial state.
        screen: Where the readable line goes; standard error when None.
        data: Hashes of the tokens, by split; stored, and compared with those of a run in the folder.

    Returns:
        The folder of the checkpoint.

    Raises:
        UsageError: The folder holds a run and resume is off, or another process trains in it.
        ShapeError: The order or the vocabulary is out of range.
        DataError: There are more tokens than can be counted here.
        CheckpointError: There is no room to save, or the run in the folder was counted with other settings
            or from other tokens.
    """
    out, order = Path(out), recipe.ngram
    check_sizes(tokenizer.vocab, order)
    if (limit := max_countable_tokens(order)) < len(split):
        raise DataError(
            f"{len(split)} tokens are too many to count in memory with ngram={order}; "
            f"give {limit} at most, or a smaller order"
        )
    with join_process_group() as group:
        if group.is_first:
            _count_into(out, recipe, split, tokenizer, resume, screen, data)
        group.barrier()
    return out / "checkpoint"


def _count_into(
    out: Path,
    recipe: LMRecipe,
    split: TokenReader,
    tokenizer: Tokenizer,
    resume: bool,
    screen: TextIO | None,
    data: Mapping[str, str] | None,
) -> None:
    folder, order = out / "checkpoint", recipe.ngram
    with lock_run_dir(out):
        if checkpoints.exists(folder):
            if not resume:
                raise UsageError(f"{out} already holds a run; name another folder")
            _compare_run(folder, recipe, tokenizer, data, screen)
            return
        model = count_ngrams(split.read(0, len(split)), tokenizer.vocab, order)
        write_atomic(out / "recipe.json", json.dumps(to_dict(recipe), ensure_ascii=False, indent=1))
        # The checkpoint comes last: where there is one, the run is done.
        log = Log(out / "log.jsonl", 0, -1, screen=screen)
        grams = sum(len(table.keys) for table in model.tables)
        log.event("counted", 0, tokens=len(split), order=order, grams=grams)
        tensors = {name: torch.from_numpy(values) for name, values in model.tensors().items()}
        values = {"recipe": to_dict(recipe), "tokenizer": tokenizer.to_dict(), "trainer": {"step": 0}}
        values |= {} if data is None else {DATA: dict(data)}
        checkpoints.save(folder, checkpoints.Checkpoint({"model": tensors}, values))
        log.say(f"{grams} different n-grams in {len(split)} tokens; saved in {folder}")


def _compare_run(
    folder: Path,
    recipe: LMRecipe,
    tokenizer: Tokenizer,
    data: Mapping[str, str] | None,
    screen: TextIO | None,
) -> None:
    """Refuse to leave a counted run as it is where it was counted in another way than is wanted now."""
    saved, where = checkpoints.load(folder), str(folder)
    compare_recipes(saved.values.get("recipe"), recipe, NGRAM_RULES, where)
    compare_files(saved, {"tokenizer": tokenizer.to_dict()}, where)
    difference, is_other = ("", False) if data is None else compare_data(saved, data, where)
    if is_other:
        raise CheckpointError(f"{difference}; give the same data, or start another run")
    if difference:
        (screen or sys.stderr).write(f"{difference}\n")


def max_countable_tokens(order: int) -> int:
    """Return how many tokens fit in memory: each may end a new n-gram of every order."""
    return MAX_BYTES // (_BYTES_PER_GRAM * order)
