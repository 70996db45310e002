"""The report of a reproduction: tables beside the source report's figures, curves, errors, pictures."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nhin.data.images.datasets import Crop
from nhin.files import write_atomic
from nhin.format import format_csv, markdown_table
from nhin.studies.ocr_report.error_analysis import ReadWord
from nhin.studies.ocr_report.variants import RECIPE
from nhin.studies.ocr_report.word_sets import TEST, UNSEEN, WordSets
from nhin.studies.plot_style import line_style, new_figure, render_figure, style_axes

OUTPUTS = "outputs.png"
SOURCE = {
    TEST: {"word_accuracy": 0.4946, "cer": 0.3594, "char_accuracy": 0.6559, "mean_edit_distance": 1.38},
    UNSEEN: {"word_accuracy": 0.5346, "cer": 0.3084, "char_accuracy": 0.7003, "mean_edit_distance": 1.22},
}
"""The source report's figures, on 7,220 and on 10,086 words."""
_FIGURES = ("word_accuracy", "cer", "char_accuracy", "mean_edit_distance")
_ROWS, _COLUMNS = 9, 5

Results = Mapping[str, Mapping[str, Any]]


def write_report(out: Path, results: Results, sets: WordSets) -> None:
    """Write ``report.md``, ``results.csv`` and the curves of finished readers."""
    rows = [
        {"reader": name, "set": where, "parameters": tree["parameters"], "epochs": tree["epochs"]}
        | {figure: found[figure] for figure in ("count", *_FIGURES)}
        for name, tree in results.items()
        for where, found in tree["sets"].items()
    ]
    write_atomic(out / "results.csv", format_csv(rows))
    write_atomic(out / "report.md", "\n".join(_write_sections(results, sets)))
    for ending, data in render_figure(_plot_curves(results)).items():
        write_atomic(out / f"curves.{ending}", data)


def _write_sections(results: Results, sets: WordSets) -> Iterator[str]:
    base = results[RECIPE]
    yield "# The source report, reproduced\n"
    yield (
        f"ResNet18 and a Transformer decoder, {base['parameters']:,} weights, {base['epochs']} epochs over "
        f"{len(sets.train):,} training words, {len(sets.charset.chars)} characters. Every figure is strict: "
        "case, punctuation and marks count.\n"
    )
    for where, found in base["sets"].items():
        yield f"## Words: {where} ({found['count']:,})\n"
        rows = [("here", *_figure_cells(found))]
        if where in SOURCE:
            rows.insert(0, ("the report", *_figure_cells(SOURCE[where])))
        yield markdown_table(("", *(name.replace("_", " ") for name in _FIGURES)), rows, numeric=True)
        low, high = found["word_accuracy_interval"]
        yield f"Words right, 95% interval by blocks of neighbors: {low:.1%} to {high:.1%}.\n"
    yield "## Epochs\n"
    yield _curve_table(base["curves"])
    if len(results) > 1:
        yield "## Variants, each one difference\n"
        yield from (_variant_table(results, where) for where in base["sets"])
    for where, found in base["sets"].items():
        yield f"## Errors: {where}\n"
        yield from _error_tables(found["errors"])


def _figure_cells(found: Mapping[str, Any]) -> list[str]:
    return [f"{found[n]:.2f}" if n == "mean_edit_distance" else f"{found[n]:.2%}" for n in _FIGURES]


def _curve_table(curves: Sequence[Mapping[str, Any]]) -> str:
    names = ("training_loss", "validation_loss", "training_accuracy", "validation_accuracy")
    rows = [
        (f"{row['epoch']:g}", *(f"{row[n]:.4f}" if "loss" in n else f"{row[n]:.2%}" for n in names))
        for row in curves
    ]
    heads = ("training loss", "validation loss", "training characters", "validation characters")
    return markdown_table(("epoch", *heads), rows, numeric=True)


def _variant_table(results: Results, where: str) -> str:
    """Tabulate what each variant gained over the recipe, in points of words right."""
    base = results[RECIPE]["sets"][where]["word_accuracy"]
    rows = []
    for name, tree in results.items():
        found = tree["sets"].get(where)
        if found is None:
            continue
        low, high = found["word_accuracy_interval"]
        gained = f"{100 * (found['word_accuracy'] - base):+.1f}" if name != RECIPE else ""
        words = f"{found['word_accuracy']:.1%} ({low:.1%} to {high:.1%})"
        changes = " ".join(f"`{change}`" for change in tree["changes"])
        rows.append((name, changes, f"{tree['parameters']:,}", words, f"{found['cer']:.1%}", gained))
    heads = (where, "changed", "weights", "words right", "CER", "gained")
    return markdown_table(heads, rows, numeric=True)


def _error_tables(errors: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (row["letter"], f"{row['count']:,}", f"{row['missed']:,}", f"{row['as']}: {row['swapped']:,}")
        for row in errors["horns"]
    ]
    yield markdown_table(("letter, any tone", "there", "misread", "read as the other"), rows, numeric=True)
    for part in ("tones", "marks"):
        recall = ", ".join(f"{name} {share:.1%}" for name, share in errors[part]["recall"].items())
        most = ", ".join(f"{r['true']} → {r['read']} {r['count']}" for r in errors[part]["confusions"][:8])
        yield f"{part.capitalize()} right where the base is: {recall}. Most often wrong: {most or 'no'}.\n"
    heads = {"length": "characters", "height": "height in pixels", "contrast": "contrast (deviation of gray)"}
    for name, head in heads.items():
        rows = [
            (_range_text(row), f"{row['words']:,}", f"{row['word_accuracy']:.1%}", f"{row['cer']:.1%}")
            for row in errors[name]
            if row["words"]
        ]
        yield markdown_table((head, "words", "words right", "CER"), rows, numeric=True)


def _range_text(row: Mapping[str, Any]) -> str:
    if row["to"] is None:
        return f"{row['from']} and more"
    return str(row["from"]) if row["to"] == row["from"] + 1 else f"{row['from']} to under {row['to']}"


def _plot_curves(results: Results) -> Any:
    """Draw loss and character accuracy after each epoch: the recipe's, and validation of each variant."""
    figure = new_figure(10, 4.2)
    axes = figure.subplots(1, 2)
    for axis, what in zip(axes, ("loss", "accuracy"), strict=True):
        for number, (name, tree) in enumerate(results.items()):
            epochs = [row["epoch"] for row in tree["curves"]]
            style = line_style(number) | {"ms": 3.5, "lw": 1.2}
            values = [row[f"validation_{what}"] for row in tree["curves"]]
            axis.plot(epochs, values, label=f"{name}, validation", **style)
            if name == RECIPE:
                values = [row[f"training_{what}"] for row in tree["curves"]]
                axis.plot(epochs, values, ls="--", label=f"{name}, training", **style)
        axis.legend(frameon=False, fontsize=8, loc="upper right")
    style_axes(axes[0], "epoch", "nats a character", "loss")
    style_axes(axes[1], "epoch", "", "character accuracy")
    return figure


def plot_outputs(read: Sequence[ReadWord], crops: Sequence[Crop]) -> bytes:
    """Draw words taken evenly, each with its label and what was read, as PNG."""
    count = min(len(read), _ROWS * _COLUMNS)
    rows = max(1, -(-count // _COLUMNS))
    figure = new_figure(2.3 * _COLUMNS, 1.15 * rows)
    axes = figure.subplots(rows, _COLUMNS).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, i in zip(axes, np.linspace(0, len(read) - 1, count).round().astype(int), strict=False):
        word = read[i]
        axis.imshow(crops[i].picture)
        text = word.true if word.read == word.true else f"{word.true} → {word.read or '(nothing)'}"
        color = "#00603f" if word.read == word.true else "#b03000"
        axis.set_title(text.replace("$", r"\$")[:40], fontsize=8, color=color)
    return render_figure(figure)["png"]
