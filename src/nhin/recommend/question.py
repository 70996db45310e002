"""What is asked of the recommender, and which mechanisms may be the answer at all."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from nhin.attention.registry import MECHANISMS
from nhin.bench.cells import LENGTH, DeviceName, Dtype
from nhin.errors import UnknownName, UsageError
from nhin.recommend.quality import TASK_TITLES, Quality, TaskName, has_quality

AskedPhase = Literal["train", "prefill", "decode"]
ASKED_PHASES: tuple[AskedPhase, ...] = get_args(AskedPhase)

# The simpler first: of two that are equally fast the earlier one is recommended. Exact ones come first, then
# those with the fewest parts that a reader must understand and the fewest settings.
SIMPLICITY = (
    "softmax naive flash window block-local sinks dilated linear linear-relu linear-exp dot general global "
    "additive concat location local-m local-p alibi t5 strided fixed interleaved longformer block-sparse "
    "bigbird performer linformer nystromformer lsh"
).split()


@dataclass(frozen=True, slots=True)
class AttentionQuestion:
    """A situation for which a mechanism is looked for; sizes are those of one layer.

    Args:
        length: Positions.
        phase: train, prefill or decode (one position after ``length`` cached ones); always causal.
        memory: Bytes that queries, keys, values, outputs, cache and working memory may take; None for any.
        quality: exact: softmax attention up to rounding; near: softmax over some of the keys, or an
            approximation of it, or with a ``task`` what learned nearly as much of it; any.
        dtype: Of the tensors.
        device: cpu or cuda.
        mechanism: The user's own choice, which wins.
        task: What the quality is measured on, a name in ``quality.TASK_TITLES``.
    """

    length: int
    phase: AskedPhase
    memory: int | None = None
    quality: Quality = "any"
    dtype: Dtype = "float32"
    device: DeviceName = "cpu"
    mechanism: str | None = None
    task: TaskName | None = None

    def __post_init__(self) -> None:
        """Refuse impossible sizes and unknown mechanisms."""
        LENGTH.check("length", self.length)
        if self.memory is not None and self.memory < 1:
            raise UsageError(f"memory is {self.memory}; give at least 1 byte")
        if self.mechanism is not None and self.mechanism not in MECHANISMS:
            raise UnknownName("mechanism", self.mechanism, MECHANISMS)
        if self.task is not None and self.task not in TASK_TITLES:
            raise UnknownName("task", self.task, TASK_TITLES)


def parse_positions(text: str) -> int:
    """Parse a number of positions such as 4096, 32k or 1m; k is 1,024.

    Raises:
        UsageError: It is not one, or out of range.
    """
    match = re.fullmatch(r"(-?\d{1,18})([kKmM]?)", text.strip(), re.ASCII)
    if match is None:
        raise UsageError(f"a length looks like 4096 or 32k, not {text[:40]!r}")
    return LENGTH.check("length", int(match[1]) * 1024 ** " km".index(match[2].lower() or " "))


def list_candidates(question: AttentionQuestion) -> list[str]:
    """Return the mechanisms that can do what is asked, the simplest first."""
    needed = {"causal"} | ({"decode"} if question.phase != "train" else set())
    return [
        name
        for name in SIMPLICITY
        if needed <= MECHANISMS[name].facts.abilities
        and has_quality(MECHANISMS[name].facts, question.quality, question.task)
    ]
