"""``nhin show``: figures of attention, of mechanisms and of trained models."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from nhin.cli.output import save_figures, with_progress
from nhin.cli.seq2seq_runs import show_alignment
from nhin.cli.show_reading import show_reading
from nhin.cli.show_run import TraceOptions, show_run
from nhin.errors import UsageError
from nhin.lm.run_dir import is_run
from nhin.ranges import Range

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["card", "pattern", "weights", "alignment", "steps"]
MAX_LENGTH = 16384


@Parameter(name="*")
@dataclass(frozen=True)
class ShowOptions:
    """The inputs and the kind of a figure.

    Args:
        kind: card: mask, causal mask and weights. pattern: the mask. weights: every head. alignment: weights
            of target words over source words. steps: every intermediate of the formula. Of a run, card:
            scores, mask and weights of every layer and head, and weights: the weights alone, on one page.
        length: Sequence length.
        keys: Number of keys, when they are another sequence.
        causal: Hide later keys.
        heads: Number of heads.
        head_dim: Width of one head.
        target: Words of the queries.
        source: Words of the keys.
        setting: A mechanism's own setting, as in --set window=8; repeatable.
    """

    kind: Kind | None = None
    length: Annotated[int, Range(1, MAX_LENGTH)] = 32
    keys: Annotated[int | None, Range(1, MAX_LENGTH)] = None
    causal: bool = False
    heads: Annotated[int, Range(1, 64)] = 4
    head_dim: Annotated[int, Range(1, 1024)] = 16
    target: str | None = None
    source: str | None = None
    setting: Annotated[tuple[str, ...], Parameter("--set")] = ()

    @property
    def resolved_kind(self) -> Kind:
        """The kind, by default an alignment of words, or a card."""
        return self.kind or ("alignment" if self.target or self.source else "card")

    def sentences(self) -> tuple[list[str], list[str]]:
        """Return the words of the queries and of the keys."""
        from nhin.viz.inputs import list_example_words

        words = (
            list_example_words(self.length) if self.target is None else _split_words("target", self.target)
        )
        if self.source is not None:
            return words, _split_words("source", self.source)
        return words, words if self.keys is None else list_example_words(self.keys)


_DEFAULT_OPTIONS, _NO_TRACE, _OUT = ShowOptions(), TraceOptions(), Path("attention")


def show(
    subject: Literal["attention", "reading", "alignment"],
    /,
    *names: str,
    every: Annotated[bool, Parameter("--all")] = False,
    weights: Path | None = None,
    out: Path = _OUT,
    options: ShowOptions = _DEFAULT_OPTIONS,
    trace: TraceOptions = _NO_TRACE,
) -> int:
    """Draw attention weights and masks, as PNG and SVG.

    For a mechanism nothing is trained: words are embedded by their letters, so the weights show similar words
    attending to each other. --weights draws your own weights from a file. For a trained language model every
    layer and head is drawn on the text of --prompt: scaled QK, mask and softmax, and all weights on one page;
    --kind weights draws that page alone, --kind steps the formula step by step. reading draws, for each line
    of a picture, a strip for each character: where the decoder looked while it wrote that, the mean over
    layers and heads.

    Args:
        subject: attention; reading; or alignment, the weights of a trained encoder-decoder model, its source
            across and its target down.
        names: Mechanisms: softmax window bigbird; nhin list has them all. Or the folder of one run. Of
            reading, one picture; of alignment, the folder of a run and a source.
        every: Draw every mechanism.
        weights: A matrix of weights to draw: .npy (T S or H T S), .tsv with names, or .json. Of reading, the
            reader: a name, a folder with an ONNX pair, or a checkpoint.
        out: The folder of the pictures.
        options: The inputs and the kind of the figure.
        trace: The prompt of a trained model, and the layers and heads to draw.
    """
    if subject == "reading":
        if len(names) != 1 or every or options != _DEFAULT_OPTIONS or trace.prompt is not None:
            raise UsageError("reading takes one picture, and --weights, --crop, --line, --layer and --head")
        return show_reading(Path(names[0]), None if weights is None else str(weights), out, trace)
    if subject == "alignment":
        if len(names) != 2 or every or weights or options != _DEFAULT_OPTIONS or trace != _NO_TRACE:
            raise UsageError('alignment takes a run and a source, as in show alignment runs/seq2seq "1.205"')
        return show_alignment(Path(names[0]), names[1], Path("alignment") if out == _OUT else out)
    if len(names) == 1 and not every and weights is None and is_run(Path(names[0])):
        return show_run(Path(names[0]), out, options.kind, trace)
    if trace != _NO_TRACE:
        raise UsageError("--prompt, --crop, --line, --layer, --head and --matrices are for a trained model")
    if weights is not None:
        if names or every:
            raise UsageError("give mechanisms or --weights, not both")
        return save_figures(out, [weights.stem], partial(_draw_file, weights))
    if every and names:
        raise UsageError("give mechanisms or --all, not both")
    if not (names or every):
        raise UsageError("nothing to draw: name mechanisms (nhin list has them), or give --all or --weights")
    from nhin.attention.registry import MECHANISMS

    mechanisms = list(MECHANISMS) if every else list(dict.fromkeys(names))
    return save_figures(out, mechanisms, partial(_draw_mechanism, options), f"-{options.resolved_kind}")


def _draw_file(path: Path, name: str) -> "Figure":
    from nhin.viz.matrices import read_matrix
    from nhin.viz.mechanism_figures import draw_file

    return draw_file(name, read_matrix(path))


def _draw_mechanism(options: ShowOptions, name: str) -> "Figure":
    from nhin.viz import mechanism_figures
    from nhin.viz.inputs import build_mechanism, embed_words, settings_for

    sentences = options.sentences()
    settings = settings_for(name, max(map(len, sentences))) | dict(map(_parse_setting, options.setting))
    mechanism = build_mechanism(name, options.heads, options.head_dim, settings)
    q, k = (embed_words(words, options.heads, options.head_dim) for words in sentences)
    names = sentences if options.target is not None or options.source is not None else ((), ())
    inputs = mechanism_figures.FigureInputs(mechanism, q, k, options.causal, names, settings)
    draw = getattr(mechanism_figures, f"draw_{options.resolved_kind}")
    return draw(inputs, partial(with_progress, description=f"computing {name}"))


def _split_words(option: str, text: str) -> list[str]:
    """Split a sentence into words, at most as many as a figure may have."""
    words = text.split()
    if not words:
        raise UsageError(f"--{option} holds no word")
    if len(words) > MAX_LENGTH:
        raise UsageError(f"--{option} has {len(words)} words; give at most {MAX_LENGTH}")
    return words


def _parse_setting(setting: str) -> tuple[str, object]:
    name, equals, value = setting.partition("=")
    if not (name and equals):
        raise UsageError(f"--set {setting} is no name=value, as in --set window=8")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
