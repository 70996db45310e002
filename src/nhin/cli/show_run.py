"""``nhin show attention RUN``: figures of a trained language model's attention to a text."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Parameter

from nhin.cli.output import save_figures, write_file
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
    """What a trained model is given, and the layers and heads to draw.

    Args:
        prompt: The text that a language model attends to.
        crop: The picture is a single word or line: detect no lines.
        line: Draw this line of a picture, counted from 1; repeatable. All when not given.
        layer: Draw this layer, counted from 0; repeatable. All when not given.
        head: Draw this head, counted from 0; repeatable. All when not given.
        matrices: Also write the matrices, one .npz of layer0.scores, layer0.weights and so on; of a reading
            one for each line.
    """

    prompt: str | None = None
    crop: bool = False
    line: tuple[int, ...] = ()
    layer: tuple[int, ...] = ()
    head: tuple[int, ...] = ()
    matrices: bool = False


def show_run(path: Path, out: Path, kind: str | None, trace: TraceOptions) -> int:
    """Draw the attention of the model in a run's folder and write the figures."""
    if kind not in (None, *KINDS):
        raise UsageError(f"--kind {kind} is for mechanisms; a run is drawn as {', '.join(KINDS)}")
    if trace.crop or trace.line:
        raise UsageError("--crop and --line are for nhin show reading")
    if not trace.prompt:
        raise UsageError("give the text that the model attends to with --prompt")
    from nhin.lm.loading import open_run

    run = open_run(path)
    ids = _encode_prompt(run, trace.prompt)
    layers = _explain_layers(run, ids)
    if not layers:
        raise UsageError(f"{path} has no attention to draw: its depth is 0")
    numbers = select_indices("layer", trace.layer, len(layers))
    heads = select_indices("head", trace.head, layers[0].heads)
    names = _position_labels(run, ids, layers[0].steps["weights"].shape[-1])
    layers = [layers[number] for number in numbers]
    figures = _figure_makers(_make_title(run, path), kind, layers, heads, names)
    name = path.resolve().name
    for suffix, draw in figures.items():
        save_figures(out, [name], lambda _, draw=draw: draw(), f"-{suffix}")
    if trace.matrices:
        write_file(out / f"{name}-attention.npz", _pack_matrices(layers, names))
    return 0


def _figure_makers(
    title: str, kind: str | None, layers: "Sequence[Layer]", heads: Sequence[int], names: Sequence[str]
) -> "Mapping[str, Callable[[], Figure]]":
    """Return functions that draw the figures, by the suffix of their files."""
    from nhin.viz import layer_figures as viz

    if kind == "steps":
        return {
            f"layer{layer.number}-head{head}-steps": lambda layer=layer, head=head: viz.draw_layer_steps(
                f"{title}, layer {layer.number}", layer, head
            )
            for layer in layers
            for head in heads
        }
    figures = {
        "weights": lambda: viz.draw_layers(f"{title}: weights by layer and head", layers, heads, names)
    }
    if kind == "weights":
        return figures
    return figures | {
        f"layer{layer.number}": lambda layer=layer: viz.draw_layer(
            f"{title}, layer {layer.number}", layer, heads, names
        )
        for layer in layers
    }


def _encode_prompt(run: "LMRun", prompt: str) -> list[int]:
    """Tokenize a prompt, or refuse one that is too long."""
    ids = run.tokenizer.encode(prompt)
    for limit, why in ((run.model.context, "the model's context"), (MAX_TOKENS, "the most that are drawn")):
        if len(ids) > limit:
            raise UsageError(f"the prompt has {len(ids)} tokens, and {limit} are {why}; shorten it")
    return ids


def _explain_layers(run: "LMRun", ids: Sequence[int]) -> "list[Layer]":
    import torch

    from nhin.viz.layer_figures import Layer

    blocks = list(run.model.iter_blocks())
    explained = run.model.explain(torch.tensor([ids]))
    is_scaled = bool(blocks) and blocks[0].attention.mechanism.facts.family in ("exact", "sparse")
    return [
        Layer(
            number,
            {name: value[0].detach().cpu().numpy() for name, value in steps.items() if value.ndim},
            block.attention.kv_heads,
            is_scaled,
        )
        for number, (block, steps) in enumerate(zip(blocks, explained, strict=True))
    ]


def select_indices(option: str, indices: Sequence[int], count: int) -> list[int]:
    """Return the given layers or heads, or all when none are given."""
    for index in indices:
        if not 0 <= index < count:
            raise UsageError(f"--{option} is {index}; this model has 0 to {count - 1}")
    return sorted(set(indices)) or list(range(count))


def _position_labels(run: "LMRun", ids: Sequence[int], length: int) -> list[str]:
    """Return the label of each position: the memory, if any, and the last tokens."""
    memory = run.model.config.memory
    tokens = list(ids)[len(ids) - (length - memory) :]
    labels = [f"memory {number}" for number in range(memory)]
    return labels + [format_token(run.tokenizer, token) for token in tokens]


def format_token(tokenizer: "Tokenizer", token: int) -> str:
    """Return a token as readable text: white space as signs, part of a character as its bytes."""
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
    for layer in layers:
        arrays |= {f"layer{layer.number}.{name}": value for name, value in layer.steps.items()}
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)
    return data.getvalue()
