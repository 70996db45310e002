"""The card of a set of weights: what it is, what it learnt from, what it reaches, where it fails."""

from collections.abc import Mapping
from typing import Any

from nhin.reading.onnx_model import ModelManifest

_FIGURES = ("word_accuracy", "char_accuracy", "cer", "wer", "mean_edit_distance")
_FORMS = ("", "_no_case", "_no_marks")


def write_card(contents: ModelManifest, recipe: Mapping[str, Any], weights: int, size: int) -> str:
    """Write a card in Markdown.

    Args:
        contents: The table of contents the weights are shipped with.
        recipe: The settings they were trained with, as nested values; may be empty.
        weights: How many there are.
        size: Of both files, in bytes.
    """
    name = contents.name or "reader"
    lines = [
        f"# {name}",
        "",
        "Reads words and short lines of Vietnamese text, marks and tones included. Part of nhin, Apache-2.0.",
        "",
        "| | |",
        "|---|---|",
        f"| weights | {weights / 1e6:.2f} million, {size / 2**20:.1f} MiB (stored in half precision) |",
        f"| input | one line, {contents.height} pixels high, as wide as its text |",
        f"| writes | {len(contents.charset)} characters: `{_escape(contents.charset)}` |",
        f"| architecture | {_format_settings(recipe.get('model'))} |",
        "",
        "## Learnt from",
        "",
        *_describe_data(recipe),
        "",
        "## Reaches",
        "",
        *_format_metrics(contents.metrics),
        "",
        "## Cannot",
        "",
        "Read more than one line at once, handwriting, scripts other than Latin, or text curved so far that",
        "no straight line passes through it.",
        "",
    ]
    return "\n".join(lines)


def _escape(text: str) -> str:
    return text.strip().replace("`", "").replace("|", "\\|")


def _format_settings(tree: Any) -> str:
    shown = ", ".join(f"{key} {value}" for key, value in tree.items()) if isinstance(tree, Mapping) else ""
    return shown or "the defaults of nhin.models.recognizer"


def _describe_data(recipe: Mapping[str, Any]) -> list[str]:
    """Say what was trained on, without naming places on anyone's machine."""
    data, schedule = recipe.get("data", {}), recipe.get("schedule", {})
    share = float(data.get("real_share", 0.0)) if data.get("real") else 0.0
    kinds = [f"Synthetic pictures ({1 - share:.0%} of the samples)."] if share < 1 else []
    kinds += [f"Real labelled crops ({share:.0%} of the samples)."] if share else []
    if recipe.get("training", {}).get("start"):
        kinds.append("Continued from earlier weights.")
    return [*kinds, f"{schedule['steps']} steps." if "steps" in schedule else ""]


def _format_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Tabulate figures in their three forms; say so when none were measured."""
    if "cer" not in metrics:
        return ["Not measured."]
    rows = [
        f"| {name.replace('_', ' ')} | "
        + " | ".join(_format_value(name, metrics.get(name + f)) for f in _FORMS)
        + " |"
        for name in _FIGURES
    ]
    head = [f"On {metrics.get('count', '?')} crops of {metrics.get('data', 'held-out data')}:", ""]
    return [*head, "| | strict | ignoring case | ignoring marks |", "|---|---|---|---|", *rows]


def _format_value(name: str, value: Any) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.2f}" if name == "mean_edit_distance" else f"{value:.2%}"
