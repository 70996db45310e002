"""The settings of a ladder, and what they stand for: its text and its networks."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from nhin.config import check_fields, load_recipe
from nhin.data.text.token_dataset import Corpus
from nhin.errors import DataError, UsageError
from nhin.lm.budget import scale_schedule
from nhin.lm.recipe import LMDataConfig, LMRecipe
from nhin.lm.train_data import open_corpus
from nhin.lm.train_ngram import TokenReader
from nhin.ranges import THREADS, Length, Range

_LISTED = Length(1, 16)
SEARCH_TOKENS = 2**15
# Family and default learning rate: those of one depth, and those that come in several.
SINGLE = {"lm-bigram": 1e-2, "lm-one-head": 3e-3, "lm-one-block": 3e-3}
STACKS = {"lm-blocks": 3e-3, "lm-modern": 1e-2}
_FIXED: dict[str, Any] = {"device": "cpu", "precision": "float32", "compile": False, "patience": 0}


@dataclass(frozen=True, slots=True)
class LadderSettings:
    """Settings of one ladder; the sizes suit a laptop and are the same for every model.

    Args:
        data: A folder made by ``nhin prepare``, or a text; the sources of Python's own library when None.
        tokenizer: For a text that is not prepared.
        budget: CPU-seconds of all runs together, timing and evaluation included.
        seeds: Runs of every model, from seed 0 on.
        depths: Of ``lm-blocks`` and ``lm-modern``, increasing.
        rates: Learning rates to try for every model, increasing; when empty, three around the model's
            default. A single one is used without a search.
        orders: Of the n-grams.
        steps: Of a full run; what the budget allows when None.
    """

    data: str | None = None
    tokenizer: Annotated[str, Length(1, 64)] = "bpe:2048"
    budget: Annotated[float, Range(above=0, maximum=3600 * 10**4)] = 1800.0
    seeds: Annotated[int, Range(1, 100)] = 3
    depths: Annotated[tuple[Annotated[int, Range(1, 256)], ...], _LISTED] = (2, 4, 8)
    rates: Annotated[tuple[Annotated[float, Range(above=0, maximum=1e3)], ...], Length(0, 16)] = ()
    orders: Annotated[tuple[Annotated[int, Range(1, 8)], ...], _LISTED] = (1, 2, 3, 4, 5)
    dim: Annotated[int, Range(1, 2**14)] = 128
    heads: Annotated[int, Range(1, 1024)] = 4
    context: Annotated[int, Range(1, 2**16)] = 64
    batch: Annotated[int, Range(1, 2**16)] = 32
    steps: Annotated[int | None, Range(1, 10**9)] = None
    threads: Annotated[int, THREADS] = 1

    def __post_init__(self) -> None:
        check_fields(self)
        if self.dim % self.heads:
            raise UsageError(f"heads is {self.heads}, which does not divide dim {self.dim}; choose a divisor")
        for name in ("depths", "orders", "rates"):
            values = getattr(self, name)
            if list(values) != sorted(set(values)):
                raise UsageError(f"{name} are {values}; give each once, rising")


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first ``count`` tokens of a split, or all there are."""

    tokens: TokenReader
    count: int

    def __len__(self) -> int:
        """Count them."""
        return min(self.count, len(self.tokens))

    def read(self, start: int, stop: int, /) -> NDArray[np.int64]:
        """Return those from ``start`` up to ``stop``."""
        return self.tokens.read(start, stop)


@dataclass(frozen=True, slots=True)
class LadderData:
    """A prepared text."""

    out: Path  # the folder of the ladder
    corpus: Corpus  # the text; its split ``train`` is trained on
    search_split: TokenReader  # the beginning of the validation split, on which learning rates are chosen
    eval_split: TokenReader  # the split whose nats are reported
    split: str  # its name: ``test``, or ``validation`` where there is no test split


def open_data(settings: LadderSettings, out: Path) -> LadderData:
    """Open the text of a ladder; one that is not tokenized yet is prepared in ``out/data``."""
    corpus = open_corpus(LMDataConfig(settings.data, settings.tokenizer), out)
    splits = {name: split for name, split in corpus.splits.items() if name != "train" and len(split) > 1}
    if "validation" not in splits:
        raise DataError(f"{corpus.folder} has nothing to choose rates on; prepare it with --validation 0.1")
    split = "test" if "test" in splits else "validation"
    return LadderData(out, corpus, Prefix(splits["validation"], SEARCH_TOKENS), splits[split], split)


@dataclass(frozen=True, slots=True)
class LadderModel:
    """A network of the ladder."""

    name: str
    family: str  # the recipe it is made from
    recipe: LMRecipe  # what is trained; rate, seed and steps are set for each run
    rate: float  # the middle of the first learning rates that are tried
    shallower: "LadderModel | None" = None  # its best rate replaces ``rate``

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return self.recipe.model.depth

    def recipe_for(self, rate: float, seed: int, steps: int) -> LMRecipe:
        """Return the recipe of one run."""
        recipe = scale_schedule(self.recipe, steps)
        return replace(recipe, seed=seed, schedule=replace(recipe.schedule, rate=rate))


def make_models(settings: LadderSettings) -> list[LadderModel]:
    """Return the networks of a ladder, smallest first."""
    models = [LadderModel(name, name, _sized_recipe(name, settings), rate) for name, rate in SINGLE.items()]
    for family, rate in STACKS.items():
        model = None
        for depth in settings.depths:
            recipe = _sized_recipe(family, settings, depth)
            model = LadderModel(f"{family}-{depth}", family, recipe, rate, model)
            models.append(model)
    return models


def _sized_recipe(name: str, settings: LadderSettings, depth: int | None = None) -> LMRecipe:
    """Load a recipe and set the sizes of the ladder."""
    recipe = load_recipe(LMRecipe, name)
    model, data, training = recipe.model, recipe.data, recipe.training
    model = replace(
        model,
        depth=model.depth if depth is None else depth,
        dim=settings.dim,
        heads=1 if model.heads == 1 else settings.heads,
        context=settings.context,
    )
    sizes: dict[str, Any] = {"path": settings.data, "tokenizer": settings.tokenizer, "batch": settings.batch}
    data = replace(data, accumulate=1, **sizes)
    training = replace(training, threads=settings.threads, validate_steps=0, **_FIXED)
    return replace(recipe, model=model, data=data, training=training)
