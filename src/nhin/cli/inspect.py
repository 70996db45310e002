"""The command that looks inside a language model."""

import json as writer
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nhin.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from nhin.lm.inspect import Inspected
    from nhin.models.design import Design

_NAMES = {"embedding": "token embedding", "norms": "norms"}


def inspect(
    model: str,
    /,
    *,
    vocab: int | None = None,
    set: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    json: bool = False,
) -> int:
    """Tell what a language model consists of and costs: weights, arithmetic, memory, the loss it begins with.

    Args:
        model: A run's folder, a shipped recipe, or a TOML file.
        vocab: Tokens there are, for a recipe; as many as its byte pairs when not given.
        set: Change a setting of the recipe, such as --set model.depth=8; repeatable.
        json: Write one JSON object instead of tables.
    """
    from nhin.lm.inspect import inspect as look
    from nhin.lm.place import is_run

    if is_run(Path(model)):
        if set or vocab is not None:
            raise UsageError(
                f"{model} is a run, which has its settings and tokens; leave out --set and --vocab"
            )
        size, design = _of_run(Path(model))
    else:
        size, design = _of_recipe(model, set, vocab)
    found = look(size, design)
    if json:
        sys.stdout.write(writer.dumps(found.as_tree(), ensure_ascii=False, indent=1) + "\n")
        return 0
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    for shown in _shown(found):
        console.print(shown, soft_wrap=isinstance(shown, str))
    return 0


def _of_run(path: Path) -> "tuple[int, Design]":
    from nhin.lm.run import open_run

    run = open_run(path)
    return run.model.vocab, run.model.design


def _of_recipe(name: str, changes: tuple[str, ...], vocab: int | None) -> "tuple[int, Design]":
    """Return the vocabulary and the design of a recipe."""
    from nhin.config import load, read_tree, recipe_names
    from nhin.lm.recipe import Recipe
    from nhin.text.tokenizers import check_spec

    if name in recipe_names() and read_tree(name).get("workflow") != "lm":
        raise UsageError(
            f"{name} is a reader's recipe; inspect looks into language models, such as lm-modern"
        )
    recipe = load(Recipe, name, changes)
    if recipe.ngram:
        raise UsageError(f"{name} counts n-grams; there is no network to look into")
    spec = recipe.data.tokenizer
    if vocab is None and spec == "char":
        raise UsageError(f"{name} takes its characters from a text; say with --vocab how many there are")
    if vocab is None:
        vocab = 257 if spec == "byte" else check_spec(spec)
    return vocab, recipe.model


def _shown(found: "Inspected") -> "Iterator[Table | str]":
    yield _weights(found)
    yield _arithmetic(found)
    yield (
        _activations(found) if found.activations else "activations: not measured, two blocks take gigabytes"
    )
    if found.cache is not None:
        held = found.cache
        yield f"cache: {_bytes(held.token)} a token, {_bytes(held.full)} for a text of {held.context} tokens"
    if found.loss is None:
        yield "first loss: not measured, building the model takes gigabytes"
        return
    loss = found.loss
    yield (
        f"first loss: {loss.mean:.3f} nats, deviation {loss.deviation:.3f} over {len(loss.losses)} seeds; "
        f"a guess among {found.vocab} tokens is log V = {loss.guess:.3f}"
    )


def _weights(found: "Inspected") -> "Table":
    table = _table("Weights", "part", "weights", "share", "bytes", "used by a token")
    for name, part in found.parts.items():
        share = f"{part.weights / max(1, found.weights):.1%}"
        words = (f"{part.weights:,}", share, _bytes(4 * part.weights), f"{part.active:,}")
        table.add_row(_NAMES.get(name, name), *words)
    if "head" not in found.parts:
        table.add_row("head", "0", "", "", "the embedding's")
    table.add_section()
    table.add_row("all", f"{found.weights:,}", "", _bytes(4 * found.weights), f"{found.active:,}")
    return table


def _arithmetic(found: "Inspected") -> "Table":
    """Tabulate operations of matrix products, by token."""
    counted = found.flops
    title = f"FLOPs of one token, in a text of {found.length}: products of matrices"
    table = _table(title, "part", "forward", "share")
    for name in ("projections", "looking", "feed", "head"):
        value = getattr(counted, name)
        label = {"looking": "scores and mix", "feed": "feed-forward"}.get(name, name)
        table.add_row(label, _count(value), f"{value / max(1, counted.forward):.1%}")
    table.add_section()
    table.add_row("forward", _count(counted.forward), "")
    table.add_row("training step", _count(counted.training), f"{counted.training / counted.forward:.1f}x")
    return table


def _activations(found: "Inspected") -> "Table":
    """Tabulate what training keeps of a text, by length, width and depth."""
    depth = found.design.depth
    columns = ("tokens T", "width D", "ends", "a block", f"L = {depth}", f"L = {2 * depth}", "recomputed")
    table = _table("Activations: kept of one text until its gradient has passed, measured", *columns)
    for kept in found.activations:
        parts = (kept.ends, kept.block, kept.total(depth), kept.total(2 * depth))
        again = kept.total(depth, checkpointing=True)
        table.add_row(str(kept.length), str(kept.dim), *map(_bytes, (*parts, again)))
    return table


def _table(title: str, *columns: str) -> "Table":
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left", title_style="")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:,.1f} GB"


def _count(value: float) -> str:
    for unit in ("", " k", " M"):
        if value < 1000:
            return f"{value:.4g}{unit}"
        value /= 1000
    return f"{value:,.2f} G"
