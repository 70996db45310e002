"""The command that draws attention."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from nhin.cli.output import with_progress
from nhin.cli.pictures import save_figures
from nhin.cli.show_run import TraceOptions, show_run
from nhin.errors import UsageError
from nhin.lm.run_dir import is_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["card", "pattern", "weights", "alignment", "steps"]
MAX_LENGTH, MAX_HEADS, MAX_HEAD_DIM = 16384, 64, 1024


@Parameter(name="*")
@dataclass(frozen=True)
class ShowOptions:
    """Who looks at what, and what of it is drawn.

    Args:
        kind: card: who sees whom, the same causally, and weights. pattern: who sees whom. weights: every
            head. alignment: which word of the target looks at which of the source. steps: every
            intermediate of the formula. Of a run, card: scores, mask and weights of every layer and head,
            and weights: the weights alone, on one page.
        length: Places of the sequence.
        keys: Places that are looked at, when they are another sequence.
        causal: Hide later keys.
        heads: Heads.
        head_dim: Width of one head.
        target: Words that look.
        source: Words that are looked at.
        setting: A mechanism's own setting, as in --set window=8; may be given again.
    """

    kind: Kind | None = None
    length: int = 32
    keys: int | None = None
    causal: bool = False
    heads: int = 4
    head_dim: int = 16
    target: str | None = None
    source: str | None = None
    setting: Annotated[tuple[str, ...], Parameter("--set")] = ()

    @property
    def resolved_kind(self) -> Kind:
        """What is drawn when it is not said: an alignment of words, or a card."""
        return self.kind or ("alignment" if self.target or self.source else "card")

    def sentences(self) -> tuple[list[str], list[str]]:
        """Return the words that look and those that are looked at."""
        from nhin.viz.inputs import list_example_words

        said = list_example_words(self.length) if self.target is None else _split_words("target", self.target)
        if self.source is not None:
            return said, _split_words("source", self.source)
        return said, said if self.keys is None else list_example_words(self.keys)

    def check(self) -> None:
        """Refuse sizes that mean nothing or would take all memory."""
        sizes = (("length", self.length, MAX_LENGTH), ("keys", self.keys, MAX_LENGTH))
        for name, size, most in (
            *sizes,
            ("heads", self.heads, MAX_HEADS),
            ("head-dim", self.head_dim, MAX_HEAD_DIM),
        ):
            if size is not None and not 1 <= size <= most:
                raise UsageError(f"--{name} is {size}; give 1 to {most}")


_DEFAULT_OPTIONS, _NO_TRACE = ShowOptions(), TraceOptions()


def show(
    subject: Literal["attention"],
    /,
    *names: str,
    every: Annotated[bool, Parameter("--all")] = False,
    weights: Path | None = None,
    out: Path = Path("attention"),
    options: ShowOptions = _DEFAULT_OPTIONS,
    trace: TraceOptions = _NO_TRACE,
) -> int:
    """Draw what attention looks at, as PNG and SVG.

    Of a mechanism, nothing is trained: words become vectors of their letters, so weights show like words
    finding each other under each mechanism's rules. Weights of your own come from a file. Of a trained
    language model, every layer and head that reads --prompt is drawn: scaled QK, mask and softmax, and all
    softmaxes on one page; --kind weights draws that page alone, --kind steps the formula step by step.

    Args:
        subject: attention.
        names: Mechanisms: softmax window bigbird; nhin list has them all. Or the folder of one run.
        every: Draw every mechanism.
        weights: A matrix of weights to draw: .npy (T S or H T S), .tsv with names, or .json.
        out: The folder that pictures go to.
        options: Who looks at what.
        trace: What a trained model reads, and what of it is drawn.
    """
    options.check()
    if len(names) == 1 and not every and weights is None and is_run(Path(names[0])):
        return show_run(Path(names[0]), out, options.kind, trace)
    if trace != _NO_TRACE:
        raise UsageError("--prompt, --layer, --head and --matrices are for one language model: give its run")
    if weights is not None:
        if names or every:
            raise UsageError("give mechanisms or --weights, not both")
        return save_figures(out, [weights.stem], partial(_draw_file, weights))
    if every and names:
        raise UsageError("give mechanisms or --all, not both")
    if not (names or every):
        raise UsageError("nothing to draw: name mechanisms (nhin list has them), or give --all or --weights")
    from nhin.attention.registry import MECHANISMS

    chosen = list(MECHANISMS) if every else list(dict.fromkeys(names))
    return save_figures(out, chosen, partial(_draw_mechanism, options), f"-{options.resolved_kind}")


def _draw_file(path: Path, name: str) -> "Figure":
    from nhin.viz.matrices import read_matrix
    from nhin.viz.mechanism_figures import draw_file

    return draw_file(name, read_matrix(path))


def _draw_mechanism(options: ShowOptions, name: str) -> "Figure":
    from nhin.viz import mechanism_figures
    from nhin.viz.inputs import build_mechanism, embed_words, settings_for

    said = options.sentences()
    settings = settings_for(name, max(map(len, said))) | dict(_parse_setting(one) for one in options.setting)
    mechanism = build_mechanism(name, options.heads, options.head_dim, settings)
    q, k = (embed_words(text, options.heads, options.head_dim) for text in said)
    named = options.target is not None or options.source is not None
    scene = mechanism_figures.FigureInputs(
        mechanism, q, k, options.causal, said if named else ((), ()), settings
    )
    return getattr(mechanism_figures, f"draw_{options.resolved_kind}")(
        scene, partial(with_progress, doing=f"weighing {name}")
    )


def _split_words(option: str, text: str) -> list[str]:
    """Split a sentence into words; a word of one script may be longer than a picture shows."""
    found = text.split()
    if not found:
        raise UsageError(f"--{option} holds no word")
    if len(found) > MAX_LENGTH:
        raise UsageError(f"--{option} has {len(found)} words; give at most {MAX_LENGTH}")
    return found


def _parse_setting(given: str) -> tuple[str, object]:
    name, equals, value = given.partition("=")
    if not (name and equals):
        raise UsageError(f"--set {given} is no name=value, as in --set window=8")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
