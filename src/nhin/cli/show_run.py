"""What ``nhin show attention RUN`` draws: the attention of a trained language model to a text it reads."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Parameter

from nhin.cli.pictures import save_figures, write_file
from nhin.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nhin.lm.loading import LMRun
    from nhin.text.tokenizers import Tokenizer
    from nhin.viz.layer_figures import Layer

MAX_TOKENS = 256
KINDS = ("card", "weights", "steps")
_SIGNS = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}


@Parameter(name="*")
@dataclass(frozen=True)
class TraceOptions:
    """What a trained model reads, and what of its attention is drawn.

    Args:
        prompt: The text that a language model reads.
        layer: Draw this layer, counted from 0; may be given again. All when not given.
        head: Draw this head, counted from 0; may be given again. All when not given.
        matrices: Write what is drawn as numbers too, one .npz of layer0.scores, layer0.weights and so on.
    """

    prompt: str | None = None
    layer: tuple[int, ...] = ()
    head: tuple[int, ...] = ()
    matrices: bool = False


def show_run(path: Path, out: Path, kind: str | None, trace: TraceOptions) -> int:
    """Draw the attention of the model in a run's folder, and write the pictures."""
    if kind not in (None, *KINDS):
        raise UsageError(f"--kind {kind} is for mechanisms; a run is drawn as {', '.join(KINDS)}")
    if not trace.prompt:
        raise UsageError("say with --prompt what the model shall read")
    from nhin.lm.loading import open_run

    run = open_run(path)
    ids = _encode_prompt(run, trace.prompt)
    layers = _explain_layers(run, ids)
    if not layers:
        raise UsageError(f"{path} has no attention to draw: its depth is 0")
    chosen = _select_indices("layer", trace.layer, len(layers))
    heads = _select_indices("head", trace.head, layers[0].heads)
    names = _position_labels(run, ids, layers[0].steps["weights"].shape[-1])
    layers = [layers[number] for number in chosen]
    figures = _figure_makers(_make_title(run, path), kind, layers, heads, names)
    name = path.resolve().name
    for ending, draw in figures.items():
        save_figures(out, [name], lambda _, draw=draw: draw(), f"-{ending}")
    if trace.matrices:
        write_file(out / f"{name}-attention.npz", _pack_matrices(layers, names))
    return 0


def _figure_makers(
    title: str, kind: str | None, layers: "Sequence[Layer]", heads: Sequence[int], names: Sequence[str]
) -> "Mapping[str, Callable[[], Figure]]":
    """Return what is to be drawn, by the ending of its file."""
    from nhin.viz import layer_figures as viz

    if kind == "steps":
        return {
            f"layer{one.number}-head{head}-steps": lambda one=one, head=head: viz.draw_layer_steps(
                f"{title}, layer {one.number}", one, head
            )
            for one in layers
            for head in heads
        }
    figures = {
        "weights": lambda: viz.draw_layers(f"{title}: what layers and heads look at", layers, heads, names)
    }
    if kind == "weights":
        return figures
    return figures | {
        f"layer{one.number}": lambda one=one: viz.draw_layer(
            f"{title}, layer {one.number}", one, heads, names
        )
        for one in layers
    }


def _encode_prompt(run: "LMRun", prompt: str) -> list[int]:
    """Turn a prompt into tokens, or say that there are too many."""
    ids = run.tokenizer.encode(prompt)
    for most, why in ((run.model.context, "the model's context"), (MAX_TOKENS, "the most that are drawn")):
        if len(ids) > most:
            raise UsageError(f"the prompt has {len(ids)} tokens, and {most} are {why}; shorten it")
    return ids


def _explain_layers(run: "LMRun", ids: Sequence[int]) -> "list[Layer]":
    import torch

    from nhin.viz.layer_figures import Layer

    blocks = list(run.model.iter_blocks())
    explained = run.model.explain(torch.tensor([ids]))
    scaled = bool(blocks) and blocks[0].attention.mechanism.facts.family in ("exact", "sparse")
    return [
        Layer(
            number,
            {name: value[0].detach().cpu().numpy() for name, value in steps.items() if value.ndim},
            one.attention.kv_heads,
            scaled,
        )
        for number, (one, steps) in enumerate(zip(blocks, explained, strict=True))
    ]


def _select_indices(option: str, given: Sequence[int], count: int) -> list[int]:
    """Return which layers or heads are drawn: those that are given, else all."""
    for number in given:
        if not 0 <= number < count:
            raise UsageError(f"--{option} is {number}; this model has 0 to {count - 1}")
    return sorted(set(given)) or list(range(count))


def _position_labels(run: "LMRun", ids: Sequence[int], length: int) -> list[str]:
    """Return what stands at each place: the memory, where there is one, and the last tokens."""
    memory = run.model.config.memory
    tokens = list(ids)[len(ids) - (length - memory) :]
    return [f"memory {number}" for number in range(memory)] + [
        format_token(run.tokenizer, one) for one in tokens
    ]


def format_token(tokenizer: "Tokenizer", token: int) -> str:
    """Return a token as a person reads it: blanks as signs, half a character as its bytes."""
    if token == tokenizer.eos_id:
        return "⟨end⟩"
    piece = tokenizer.decode_bytes([token])
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return "".join(f"⟨{byte:02x}⟩" for byte in piece)
    return "".join(_SIGNS.get(char, char if char.isprintable() else f"⟨{ord(char):x}⟩") for char in text)


def _make_title(run: "LMRun", path: Path) -> str:
    facts = next(run.model.iter_blocks()).attention.mechanism.facts
    return f"{path.resolve().name}, step {run.step}: {facts.title}"


def _pack_matrices(layers: "Sequence[Layer]", names: Sequence[str]) -> bytes:
    import numpy as np

    arrays: dict[str, Any] = {"tokens": np.array(names)}
    for one in layers:
        arrays |= {f"layer{one.number}.{name}": value for name, value in one.steps.items()}
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)
    return data.getvalue()
