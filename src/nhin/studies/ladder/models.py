"""The networks of a ladder: the shipped recipes, all with one width, context and batch."""

from dataclasses import dataclass, replace
from typing import Any

from nhin.config import load_recipe
from nhin.lm.budget import scale_schedule
from nhin.lm.recipe import LMRecipe
from nhin.studies.ladder.settings import LadderSettings

# Family and default learning rate: those of one depth, and those that come in several.
SINGLE = {"lm-bigram": 1e-2, "lm-one-head": 3e-3, "lm-one-block": 3e-3}
STACKS = {"lm-blocks": 3e-3, "lm-modern": 1e-2}
_FIXED: dict[str, Any] = {"device": "cpu", "precision": "float32", "compile": False, "patience": 0}


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
