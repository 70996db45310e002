"""``nhin inspect``: the summary of a language model, or of a reader's weights."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nhin.cli.output import make_table, print_tables, refuse_options, to_json
from nhin.errors import UsageError
from nhin.ranges import Range

if TYPE_CHECKING:
    from rich.table import Table

    from nhin.lm.summary import ModelSummary
    from nhin.models.config import ModelConfig

_NAMES = {"embedding": "token embedding", "norms": "norms"}


def inspect(
    model: str,
    /,
    *,
    vocab: Annotated[int | None, Range(1, 2**22)] = None,
    set: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
    json: bool = False,
) -> int:
    """Summarize a language model: weights, FLOPs, memory, the loss before training. Or a reader's weights.

    Args:
        model: A run's folder, a shipped recipe, or a TOML file; or a folder with a reader's ONNX pair, whose
            digest is then printed, for --digest.
        vocab: Number of tokens, for a recipe; that of its tokenizer when not given.
        set: Change a setting of the recipe, such as --set model.depth=8; repeatable.
        json: Write one JSON object instead of tables.
    """
    if (Path(model) / "model.json").exists():
        refuse_options(model, "a reader", "a language model", vocab=vocab, set=set or None)
        return _inspect_reader(Path(model), json)
    from nhin.lm.run_dir import is_run
    from nhin.lm.summary import summarize

    if is_run(Path(model)):
        if set or vocab is not None:
            raise UsageError(
                f"{model} is a run, which has its settings and tokens; leave out --set and --vocab"
            )
        from nhin.lm.loading import open_run

        network = open_run(Path(model)).model
        vocab, config = network.vocab, network.config
    else:
        vocab, config = _read_recipe(model, set, vocab)
    summary = summarize(vocab, config)
    if json:
        sys.stdout.write(to_json(summary.to_dict()))
    else:
        print_tables(*_make_tables(summary))
    return 0


def _inspect_reader(folder: Path, json: bool) -> int:
    """Print what a folder of exported weights is, and its digest; no network is opened."""
    from nhin.reading.onnx_model import hash_model, read_model

    digest = hash_model(folder)
    manifest, networks = read_model(folder, digest)
    tree = {
        "name": manifest.name,
        "characters": len(manifest.charset),
        "height": manifest.height,
        "bytes": sum(map(len, networks)),
        "digest": digest,
    }
    if json:
        sys.stdout.write(to_json(tree))
    else:
        print_tables(
            *(f"{key}: {value!r}" if key == "name" else f"{key}: {value}" for key, value in tree.items())
        )
    return 0


def _read_recipe(name: str, changes: tuple[str, ...], vocab: int | None) -> "tuple[int, ModelConfig]":
    """Return the number of tokens and the model of a recipe."""
    from nhin.config import load_recipe, read_recipe, recipe_names
    from nhin.lm.recipe import LMRecipe
    from nhin.text.tokenizers import check_spec

    if name in recipe_names() and read_recipe(name).get("workflow") != "lm":
        raise UsageError(f"{name} is a reader's recipe; inspect is for language models, such as lm-modern")
    recipe = load_recipe(LMRecipe, name, changes)
    if recipe.ngram:
        raise UsageError(f"{name} counts n-grams; there is no network to inspect")
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
        per_token, full = _format_bytes(summary.cache.token), _format_bytes(summary.cache.full)
        yield f"cache: {per_token} a token, {full} for a text of {summary.cache.context} tokens"
    if summary.loss is None:
        yield "first loss: not measured, building the model takes gigabytes"
        return
    loss = summary.loss
    yield (
        f"first loss: {loss.mean:.3f} nats, deviation {loss.deviation:.3f} over {len(loss.losses)} seeds; "
        f"a uniform distribution over {summary.vocab} tokens has log V = {loss.guess:.3f}"
    )


def _weights_table(summary: "ModelSummary") -> "Table":
    table = make_table("part", "weights", "share", "bytes", "used by a token", title="Weights")
    for name, part in summary.parts.items():
        share = f"{part.weights / max(1, summary.weights):.1%}"
        size = _format_bytes(4 * part.weights)
        table.add_row(_NAMES.get(name, name), f"{part.weights:,}", share, size, f"{part.active:,}")
    if "head" not in summary.parts:
        table.add_row("head", "0", "", "", "the embedding's")
    table.add_section()
    size = _format_bytes(4 * summary.weights)
    table.add_row("all", f"{summary.weights:,}", "", size, f"{summary.active:,}")
    return table


def _flops_table(summary: "ModelSummary") -> "Table":
    """Tabulate the operations of matrix products per token."""
    flops = summary.flops
    title = f"FLOPs of one token, in a text of {summary.length}: matrix products"
    table = make_table("part", "forward", "share", title=title)
    for name in ("projections", "looking", "mlp", "head"):
        value = getattr(flops, name)
        label = {"looking": "scores and weighted sums", "feed": "MLP"}.get(name, name)
        table.add_row(label, _format_count(value), f"{value / max(1, flops.forward):.1%}")
    table.add_section()
    table.add_row("forward", _format_count(flops.forward), "")
    table.add_row("training step", _format_count(flops.training), f"{flops.training / flops.forward:.1f}x")
    return table


def _activations_table(summary: "ModelSummary") -> "Table":
    """Tabulate activation memory by length, width and depth."""
    depth = summary.config.depth
    depths = (f"L = {depth}", f"L = {2 * depth}", "checkpointed")
    title = "Activations: saved for the gradient of one text, measured"
    table = make_table("tokens T", "width D", "outside blocks", "a block", *depths, title=title)
    for memory in summary.activations:
        sizes = (memory.ends, memory.block, memory.total(depth), memory.total(2 * depth))
        checkpointed = memory.total(depth, checkpointing=True)
        table.add_row(str(memory.length), str(memory.dim), *map(_format_bytes, (*sizes, checkpointed)))
    return table


def _format_bytes(count: float) -> str:
    return _format_scaled(count, 1024, (" B", " KB", " MB")) or f"{count / 1024**3:,.1f} GB"


def _format_count(value: float) -> str:
    return _format_scaled(value, 1000, ("", " k", " M")) or f"{value / 1000**3:,.2f} G"


def _format_scaled(value: float, step: int, units: tuple[str, ...]) -> str | None:
    """Format a value in the first unit of which there are fewer than ``step``; None if there is none."""
    for unit in units:
        if value < step:
            return f"{value:.4g}{unit}"
        value /= step
    return None
