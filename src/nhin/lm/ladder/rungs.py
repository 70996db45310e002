"""The rungs of a climb: the shipped recipes, all brought to one width, one context and one batch."""

from dataclasses import dataclass, replace

from nhin.config import load_recipe
from nhin.lm.budget import scale_schedule
from nhin.lm.ladder.settings import Settings
from nhin.lm.recipe import LMRecipe

SINGLE = {"lm-bigram": 1e-2, "lm-one-head": 3e-3, "lm-one-block": 3e-3}
STACKS = {"lm-blocks": 3e-3, "lm-modern": 1e-2}


@dataclass(frozen=True, slots=True)
class Rung:
    """A network of the ladder.

    Args:
        name: What its runs are called.
        family: The recipe that it comes from.
        recipe: What is trained; rate, seed and steps are set for each run.
        rate: Around which rates are tried.
        below: The next less deep one of its family, whose best rate is tried around instead.
    """

    name: str
    family: str
    recipe: LMRecipe
    rate: float
    below: "Rung | None" = None

    @property
    def depth(self) -> int:
        """How many blocks it has."""
        return self.recipe.model.depth

    def at(self, rate: float, seed: int, steps: int) -> LMRecipe:
        """Return the recipe of one run."""
        recipe = scale_schedule(self.recipe, steps)
        return replace(recipe, seed=seed, schedule=replace(recipe.schedule, rate=rate))


def rungs(settings: Settings) -> list[Rung]:
    """Return the rungs of a climb, from below."""
    found = [Rung(name, name, _sized(name, settings), rate) for name, rate in SINGLE.items()]
    for family, rate in STACKS.items():
        below = None
        for depth in settings.depths:
            below = Rung(f"{family}-{depth}", family, _sized(family, settings, depth), rate, below)
            found.append(below)
    return found


def _sized(name: str, settings: Settings, depth: int | None = None) -> LMRecipe:
    """Load a recipe and give it the sizes of the climb."""
    recipe = load_recipe(LMRecipe, name)
    model, data, training = recipe.model, recipe.data, recipe.training
    return replace(
        recipe,
        model=replace(
            model,
            depth=model.depth if depth is None else depth,
            dim=settings.dim,
            heads=1 if model.heads == 1 else settings.heads,
            context=settings.context,
        ),
        data=replace(
            data, path=settings.data, tokenizer=settings.tokenizer, batch=settings.batch, accumulate=1
        ),
        training=replace(
            training,
            device="cpu",
            threads=settings.threads,
            precision="float32",
            compile=False,
            patience=0,
            validate_steps=0,
        ),
    )
