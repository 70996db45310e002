"""The recipe ``ocr-report`` on a copy of VinText, and variants of it: each is one difference, by name."""

import re
from collections.abc import Sequence
from math import ceil

from nhin.config import from_dict, override, read_recipe
from nhin.errors import UnknownName
from nhin.ocr.recipe import OCRRecipe
from nhin.studies.ocr_report.word_sets import WordSets

RECIPE = "ocr-report"
EPOCHS = 10
_CHUNK = 4096

VARIANTS: dict[str, tuple[str, ...]] = {
    "augmentation": ("training.jitter=1.0", "data.vary=1.0"),
    "synthetic": ("data.real_share=0.5",),
    "ctc": ("model.ctc=0.5",),
    "frames": ('model.memory="frames"',),
    "factored-letters": ('model.letters="factored"',),
    "encoder": ("model.depth=3",),  # self-attention over the memory, with rotary positions
    "deeper": ("model.decoder_depth=6",),
    "more-heads": ("model.heads=16",),
    "lean": ('model.backbone="lean"',),
    "wide": ('model.backbone="wide"',),
    "height-48": ("model.height=48",),
    "schedule": ("schedule.rate=5e-4", "schedule.warmup=500", 'schedule.shape="cosine"'),
    "regularized": ("model.dropout=0.2", "training.weight_decay=0.05"),
    "token-noise": ("model.token_noise=0.05",),
    "ema": ("training.ema_decay=0.999",),
}
VARIANTS["together"] = tuple(
    change
    for name in ("augmentation", "ctc", "frames", "factored-letters", "encoder", "schedule", "ema")
    for change in VARIANTS[name]
)


def find_changes(variant: str) -> tuple[str, ...]:
    """Return the assignments of a variant: those of its name, or itself if it is one, ``KEY=VALUE``.

    Raises:
        UnknownName: It is neither.
    """
    if "=" in variant:
        return (variant,)
    if variant not in VARIANTS:
        raise UnknownName("variant", variant, VARIANTS)
    return VARIANTS[variant]


def folder_name(variant: str) -> str:
    """Return the name of the folder of a variant's run."""
    return re.sub(r"[^\w.-]+", "-", variant.replace('"', ""))[:80]


def build_report_recipe(sets: WordSets, epochs: int, cache: str, changes: Sequence[str] = ()) -> OCRRecipe:
    """Return the recipe with its data, the steps of an epoch, and changes.

    An epoch takes each word once. The last batches of it take a few words twice, so that all have the same
    size; the words are prepared once and kept in ``cache``, unless they are varied or mixed with others.

    Raises:
        RecipeError: A change is none, or has a wrong value.
    """
    tree = override(read_recipe(RECIPE), changes)
    recipe = from_dict(OCRRecipe, tree, RECIPE)
    words, batch = len(sets.train), recipe.training.batch_crops or 32
    tree["data"] |= {"real": [str(sets.path)]}
    if recipe.data.vary or recipe.data.real_share < 1.0:
        steps = ceil(words / max(recipe.data.real_share, 0.01) / batch)
        tree["data"] |= {"chunk": _CHUNK // batch * batch or batch}
    else:
        chunks = ceil(words / _CHUNK)
        size = ceil(words / chunks / batch) * batch
        steps = chunks * size // batch
        tree["data"] |= {"chunk": size, "cycle": chunks, "cache": cache}
    tree["training"] |= {"validate_steps": steps}
    tree["schedule"] |= {"steps": steps * epochs}
    return from_dict(OCRRecipe, tree, RECIPE)
