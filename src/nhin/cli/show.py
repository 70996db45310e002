"""The command that draws attention."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from nhin.cli.files import watched
from nhin.cli.pictures import save
from nhin.cli.show_run import Reading, show_run
from nhin.errors import UsageError
from nhin.lm.place import is_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["card", "pattern", "weights", "alignment", "steps"]
LONGEST, MOST_HEADS, WIDEST = 16384, 64, 1024


@Parameter(name="*")
@dataclass(frozen=True)
class Look:
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
    def drawn(self) -> Kind:
        """What is drawn when it is not said: an alignment of words, or a card."""
        return self.kind or ("alignment" if self.target or self.source else "card")

    def said(self) -> tuple[list[str], list[str]]:
        """Return the words that look and those that are looked at."""
        from nhin.viz.inputs import words

        said = words(self.length) if self.target is None else _words("target", self.target)
        if self.source is not None:
            return said, _words("source", self.source)
        return said, said if self.keys is None else words(self.keys)

    def check(self) -> None:
        """Refuse sizes that mean nothing or would take all memory."""
        sizes = (("length", self.length, LONGEST), ("keys", self.keys, LONGEST))
        for name, size, most in (
            *sizes,
            ("heads", self.heads, MOST_HEADS),
            ("head-dim", self.head_dim, WIDEST),
        ):
            if size is not None and not 1 <= size <= most:
                raise UsageError(f"--{name} is {size}; give 1 to {most}")


_CARD, _NOTHING = Look(), Reading()


def show(
    subject: Literal["attention"],
    /,
    *names: str,
    every: Annotated[bool, Parameter("--all")] = False,
    weights: Path | None = None,
    out: Path = Path("attention"),
    look: Look = _CARD,
    reading: Reading = _NOTHING,
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
        look: Who looks at what.
        reading: What a trained model reads, and what of it is drawn.
    """
    look.check()
    if len(names) == 1 and not every and weights is None and is_run(Path(names[0])):
        return show_run(Path(names[0]), out, look.kind, reading)
    if reading != _NOTHING:
        raise UsageError("--prompt, --layer, --head and --matrices are for one language model: give its run")
    if weights is not None:
        if names or every:
            raise UsageError("give mechanisms or --weights, not both")
        return save(out, [weights.stem], partial(_of_file, weights))
    if every and names:
        raise UsageError("give mechanisms or --all, not both")
    if not (names or every):
        raise UsageError("nothing to draw: name mechanisms (nhin list has them), or give --all or --weights")
    from nhin.attention.registry import MECHANISMS

    chosen = list(MECHANISMS) if every else list(dict.fromkeys(names))
    return save(out, chosen, partial(_of_mechanism, look), f"-{look.drawn}")


def _of_file(path: Path, name: str) -> "Figure":
    from nhin.viz.figures import own
    from nhin.viz.matrices import read_matrix

    return own(name, read_matrix(path))


def _of_mechanism(look: Look, name: str) -> "Figure":
    from nhin.viz import figures
    from nhin.viz.inputs import made, settings_for, vectors

    said = look.said()
    settings = settings_for(name, max(map(len, said))) | dict(_setting(one) for one in look.setting)
    mechanism = made(name, look.heads, look.head_dim, settings)
    q, k = (vectors(text, look.heads, look.head_dim) for text in said)
    named = look.target is not None or look.source is not None
    scene = figures.Scene(mechanism, q, k, look.causal, said if named else ((), ()), settings)
    return getattr(figures, look.drawn)(scene, partial(watched, doing=f"weighing {name}"))


def _words(option: str, text: str) -> list[str]:
    """Split a sentence into words; a word of one script may be longer than a picture shows."""
    found = text.split()
    if not found:
        raise UsageError(f"--{option} holds no word")
    if len(found) > LONGEST:
        raise UsageError(f"--{option} has {len(found)} words; give at most {LONGEST}")
    return found


def _setting(given: str) -> tuple[str, object]:
    name, equals, value = given.partition("=")
    if not (name and equals):
        raise UsageError(f"--set {given} is no name=value, as in --set window=8")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
