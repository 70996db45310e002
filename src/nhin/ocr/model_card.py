"""The card of exported weights: training data, accuracy, limits."""

from collections.abc import Mapping, Sequence
from typing import Any

from nhin.metrics.error_rates import FIGURES, NORMALIZERS
from nhin.reading.onnx_model import ModelManifest

CARD = "CARD.md"


def write_card(manifest: ModelManifest, recipe: Mapping[str, Any], weights: int, size: int) -> str:
    """Write a card in Markdown.

    Args:
        manifest: The manifest of the weights.
        recipe: The training recipe as nested dicts; may be empty.
        weights: Number of weights.
        size: Bytes of both files.
    """
    name = manifest.name or "reader"
    lines = [
        f"# {name}",
        "",
        "Reads words and short lines of Vietnamese text, marks and tones included. Part of nhin, Apache-2.0.",
        "",
        "| | |",
        "|---|---|",
        f"| weights | {weights / 1e6:.2f} million, {size / 2**20:.1f} MiB (stored in half precision) |",
        f"| input | one line, {manifest.height} pixels high, as wide as its text |",
        f"| writes | {len(manifest.charset)} characters: `{_escape(manifest.charset)}` |",
        f"| architecture | {_format_settings(recipe.get('model'))} |",
        "",
        "## Trained on",
        "",
        *_describe_data(recipe),
        "",
        "## Accuracy",
        "",
        *_format_metrics(manifest.metrics),
        "",
        "## Limits",
        "",
        "Cannot read more than one line at once, handwriting, scripts other than Latin, or text so curved",
        "that no straight line passes through it.",
        "",
    ]
    return "\n".join(lines)


def replace_section(card: str, title: str, lines: Sequence[str]) -> str:
    """Return a card with a section replaced; one that is not there yet comes before the limits, or last."""
    parts = [part for part in f"\n{card.strip()}\n".split("\n## ") if part.partition("\n")[0] != title]
    section = "\n".join([title, "", *lines, ""])
    limits = next((i for i, part in enumerate(parts) if part.startswith("Limits\n")), len(parts))
    parts = [part.rstrip() + "\n" for part in (*parts[:limits], section, *parts[limits:])]
    return "\n## ".join(parts).lstrip("\n")


def _escape(text: str) -> str:
    return text.strip().replace("`", "").replace("|", "\\|")


def _format_settings(tree: Any) -> str:
    shown = ", ".join(f"{key} {value}" for key, value in tree.items()) if isinstance(tree, Mapping) else ""
    return shown or "the defaults of nhin.models.recognizer"


def _describe_data(recipe: Mapping[str, Any]) -> list[str]:
    """Describe the training data, without paths of anyone's machine."""
    data, schedule = recipe.get("data", {}), recipe.get("schedule", {})
    share = float(data.get("real_share", 0.0)) if data.get("real") else 0.0
    kinds = [f"Synthetic pictures ({1 - share:.0%} of the samples)."] if share < 1 else []
    kinds += [f"Real labeled crops ({share:.0%} of the samples)."] if share else []
    if recipe.get("training", {}).get("start"):
        kinds.append("Continued from earlier weights.")
    return [*kinds, f"{schedule['steps']} steps." if "steps" in schedule else ""]


def _format_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Format a table of the figures in their three forms, if they were measured."""
    if "cer" not in metrics:
        return ["Not measured."]
    rows = []
    for name in FIGURES:
        values = " | ".join(_format_value(name, metrics.get(name + form)) for form in NORMALIZERS)
        rows.append(f"| {name.replace('_', ' ')} | {values} |")
    head = [f"On {metrics.get('count', '?')} crops of {metrics.get('data', 'held-out data')}:", ""]
    return [*head, "| | strict | ignoring case | ignoring marks |", "|---|---|---|---|", *rows]


def _format_value(name: str, value: Any) -> str:
    if not isinstance(value, int | float):
        return "-"
    return f"{value:.2f}" if name == "mean_edit_distance" else f"{value:.2%}"
