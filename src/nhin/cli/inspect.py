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

    from nhin.lm.summary import ModelSummary
    from nhin.models.config import ModelConfig

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
    from nhin.lm.run_dir import is_run
    from nhin.lm.summary import summarize as summarize

    if is_run(Path(model)):
        if set or vocab is not None:
            raise UsageError(
                f"{model} is a run, which has its settings and tokens; leave out --set and --vocab"
            )
        size, design = _load_run(Path(model))
    else:
        size, design = _read_recipe(model, set, vocab)
    found = summarize(size, design)
    if json:
        sys.stdout.write(writer.dumps(found.to_dict(), ensure_ascii=False, indent=1) + "\n")
        return 0
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    for shown in _make_tables(found):
        console.print(shown, soft_wrap=isinstance(shown, str))
    return 0


def _load_run(path: Path) -> "tuple[int, ModelConfig]":
    from nhin.lm.loading import open_run

    run = open_run(path)
    return run.model.vocab, run.model.config


def _read_recipe(name: str, changes: tuple[str, ...], vocab: int | None) -> "tuple[int, ModelConfig]":
    """Return the vocabulary and the design of a recipe."""
    from nhin.config import load_recipe, read_recipe, recipe_names
    from nhin.lm.recipe import LMRecipe
    from nhin.text.tokenizers import check_spec

    if name in recipe_names() and read_recipe(name).get("workflow") != "lm":
        raise UsageError(
            f"{name} is a reader's recipe; inspect looks into language models, such as lm-modern"
        )
    recipe = load_recipe(LMRecipe, name, changes)
    if recipe.ngram:
        raise UsageError(f"{name} counts n-grams; there is no network to look into")
    spec = recipe.data.tokenizer
    if vocab is None and spec == "char":
        raise UsageError(f"{name} takes its characters from a text; say with --vocab how many there are")
    if vocab is None:
        vocab = 257 if spec == "byte" else check_spec(spec)
    return vocab, recipe.model


def _make_tables(summary: "ModelSummary") -> "Iterator[Table | str]":
    yield _weights_table(summary)
    yield _flops_table(summary)
    yield (
        _activations_table(summary)
        if summary.activations
        else "activations: not measured, two blocks take gigabytes"
    )
    if summary.cache is not None:
        held = summary.cache
        yield f"cache: {_format_bytes(held.token)} a token, {_format_bytes(held.full)} for a text of {held.context} tokens"
    if summary.loss is None:
        yield "first loss: not measured, building the model takes gigabytes"
        return
    loss = summary.loss
    yield (
        f"first loss: {loss.mean:.3f} nats, deviation {loss.deviation:.3f} over {len(loss.losses)} seeds; "
        f"a guess among {summary.vocab} tokens is log V = {loss.guess:.3f}"
    )


def _weights_table(summary: "ModelSummary") -> "Table":
    table = _make_table("Weights", "part", "weights", "share", "bytes", "used by a token")
    for name, part in summary.parts.items():
        share = f"{part.weights / max(1, summary.weights):.1%}"
        words = (f"{part.weights:,}", share, _format_bytes(4 * part.weights), f"{part.active:,}")
        table.add_row(_NAMES.get(name, name), *words)
    if "head" not in summary.parts:
        table.add_row("head", "0", "", "", "the embedding's")
    table.add_section()
    table.add_row(
        "all", f"{summary.weights:,}", "", _format_bytes(4 * summary.weights), f"{summary.active:,}"
    )
    return table


def _flops_table(summary: "ModelSummary") -> "Table":
    """Tabulate operations of matrix products, by token."""
    counted = summary.flops
    title = f"FLOPs of one token, in a text of {summary.length}: products of matrices"
    table = _make_table(title, "part", "forward", "share")
    for name in ("projections", "looking", "feed", "head"):
        value = getattr(counted, name)
        label = {"looking": "scores and mix", "feed": "feed-forward"}.get(name, name)
        table.add_row(label, _format_count(value), f"{value / max(1, counted.forward):.1%}")
    table.add_section()
    table.add_row("forward", _format_count(counted.forward), "")
    table.add_row(
        "training step", _format_count(counted.training), f"{counted.training / counted.forward:.1f}x"
    )
    return table


def _activations_table(summary: "ModelSummary") -> "Table":
    """Tabulate what training keeps of a text, by length, width and depth."""
    depth = summary.config.depth
    columns = ("tokens T", "width D", "ends", "a block", f"L = {depth}", f"L = {2 * depth}", "recomputed")
    table = _make_table("Activations: kept of one text until its gradient has passed, measured", *columns)
    for kept in summary.activations:
        parts = (kept.ends, kept.block, kept.total(depth), kept.total(2 * depth))
        again = kept.total(depth, checkpointing=True)
        table.add_row(str(kept.length), str(kept.dim), *map(_format_bytes, (*parts, again)))
    return table


def _make_table(title: str, *columns: str) -> "Table":
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left", title_style="")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _format_bytes(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:,.1f} GB"


def _format_count(value: float) -> str:
    for unit in ("", " k", " M"):
        if value < 1000:
            return f"{value:.4g}{unit}"
        value /= 1000
    return f"{value:,.2f} G"
