"""The tokens of a recipe: prepared before, or prepared now into the run's folder."""

import hashlib
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

from nhin.config import from_dict
from nhin.data.text.hub import HUB
from nhin.data.text.prepare import prepare
from nhin.data.text.token_dataset import MANIFEST, Corpus, Split, open_tokens
from nhin.errors import CheckpointError, DataError, UsageError
from nhin.files import read_folder, read_json
from nhin.lm.recipe import LMDataConfig, LMRecipe
from nhin.lm.resume import LM_RULES, NGRAM_RULES
from nhin.text.tokenizers import tokenizer_from_dict
from nhin.training.agreement import check_same, compute_digest
from nhin.training.distributed import join_process_group
from nhin.training.resume import check_run
from nhin.training.run_dir import read_run_recipe

DEFAULT_SOURCE = "python"
_MAX_HASHED = 2**32


def open_corpus(data: LMDataConfig, out: Path) -> Corpus:
    """Open a recipe's tokens; a text is prepared in ``out/data`` first, once, by the first process.

    Raises:
        DataError: The text is missing, empty, too short or not text.
            Another process has other tokens.
        UsageError: The folder holds tokens of another text.
    """
    folder = out / "data"
    with join_process_group() as group:
        is_prepared = _holds_tokens(data)
        check_same(group, DataError, {"the folder of tokens": "found" if is_prepared else "not found"})
        if is_prepared:
            folder = Path(str(data.path))
        elif group.is_first:
            prepare(_source(data), data.tokenizer, folder)
        group.barrier()
        corpus = open_tokens(folder)
        check_same(group, DataError, {"the digest of the tokens": compute_digest(asdict(corpus.manifest))})
    return corpus


def reopen_corpus(recipe: LMRecipe, out: Path, other_data: bool = False) -> tuple[LMRecipe, Corpus]:
    """Open the tokens for a run that is resumed.

    Args:
        recipe: Its settings; where it names no data, those of the run are taken.
        out: The run's folder.
        other_data: Whether the data may be others than before; a text is then prepared in a new folder of
            the run, with the run's tokenizer.

    Returns:
        The recipe, with the path of the data, and the tokens.

    Raises:
        CheckpointError: A setting differs that cannot change, or the text is not what the run was trained on.
        DataError: The text is missing, empty, too short or not text.
    """
    has_checkpoint = check_run(out, recipe, NGRAM_RULES if recipe.ngram else LM_RULES)
    if recipe.data.path is None:
        former = from_dict(LMRecipe, read_run_recipe(out), str(out)).data.path
        if former is not None and not former.startswith(HUB) and not Path(former).exists():
            raise CheckpointError(
                f"{out} was trained on {former}, which is not there; name the data by --data"
            )
        recipe = replace(recipe, data=replace(recipe.data, path=former))
    if not has_checkpoint:
        return recipe, open_corpus(recipe.data, out)
    source = _source(recipe.data)
    hint = f"or give --other-data to go on with {source}"
    if _holds_tokens(recipe.data) or ((out / "data" / MANIFEST).is_file() and not other_data):
        try:
            return recipe, open_corpus(recipe.data, out)
        except UsageError as why:
            raise CheckpointError(f"{why}, {hint}") from why
    if not other_data:
        raise CheckpointError(f"{out} was trained on tokens prepared elsewhere: name them by --data, {hint}")
    folder = next(path for i in count(2) if not (path := out / f"data-{i}").exists())
    with join_process_group() as group:
        group.barrier()  # all have named the folder before the first makes it
        if group.is_first:
            saved = read_folder(out / "checkpoint", lambda path: read_json(path / "tokenizer.json"))
            prepare(source, tokenizer_from_dict(saved), folder)
        group.barrier()
    return replace(recipe, data=replace(recipe.data, path=str(folder))), open_tokens(folder)


def hash_corpus(corpus: Corpus) -> dict[str, str]:
    """Return hashes of the tokens of each split.

    Shards of over 4 GiB in all are not read: their hashes are those of the manifest, and their sizes are
    compared when they are opened.

    Raises:
        DataError: A shard is not what was written.
    """
    shards = [shard for split in corpus.splits.values() for shard in split.info.shards]
    size = sum((corpus.folder / shard.name).stat().st_size for shard in shards)
    if size <= _MAX_HASHED and not corpus.is_intact():
        raise DataError(f"{corpus.folder} is torn: a shard has changed since it was written")
    return {name: hash_split(split) for name, split in corpus.splits.items()}


def hash_split(split: Split) -> str:
    """Return a hash of the tokens of a split, made from those in the manifest."""
    return hashlib.sha256("\n".join(shard.sha256 for shard in split.info.shards).encode()).hexdigest()


def _holds_tokens(data: LMDataConfig) -> bool:
    return data.path is not None and (Path(data.path) / MANIFEST).is_file()


def _source(data: LMDataConfig) -> str:
    return DEFAULT_SOURCE if data.path is None else data.path
