"""What is measured: a cell is one mechanism in one situation, a row is what was found for it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Annotated, Any, Literal, get_args

from nhin.attention.registry import MECHANISMS
from nhin.bench.backends import BACKENDS
from nhin.errors import UnknownName, UsageError
from nhin.ranges import Length, Range

Phase = Literal["forward", "train", "prefill", "decode", "generate"]
Dtype = Literal["float32", "bfloat16", "float16"]
DeviceName = Literal["cpu", "cuda"]
PHASES: tuple[Phase, ...] = get_args(Phase)
BASELINE, RECOMPUTE = "sdpa", "recompute"
SIZE, LENGTH = Range(1, 1024), Range(1, 2**24)
Share = Annotated[float | None, Range(0)]
Seconds = Annotated[float, Range(above=0)]


@dataclass(frozen=True, slots=True)
class BenchCell:
    """One mechanism in one situation; sizes are those of one attention layer.

    Args:
        mechanism: Its name in the registry; ``sdpa`` and ``sdpa-flash``, ... for PyTorch's own kernels;
            ``recompute`` for generation without a cache.
        phase: forward and train take ``length`` positions; prefill fills a cache with them; decode is one
            position after ``length`` cached ones; generate decodes ``length`` positions from nothing.
        length: Positions.
        dtype: Of the inputs and of the mechanism.
        heads: Query heads.
        kv_heads: Key/value heads.
        head_dim: Width of a head.
        causal: Later keys are hidden; always so while decoding.
        device: cpu or cuda.
        batch: Sequences.
    """

    mechanism: str
    phase: Phase
    length: Annotated[int, LENGTH]
    dtype: Dtype = "float32"
    heads: Annotated[int, SIZE] = 8
    kv_heads: Annotated[int, SIZE] = 8
    head_dim: Annotated[int, SIZE] = 64
    causal: bool = True
    device: DeviceName = "cpu"
    batch: Annotated[int, SIZE] = 1

    @property
    def group(self) -> tuple[Any, ...]:
        """All but the mechanism: cells of one group take turns with one baseline."""
        return tuple(value for name, value in asdict(self).items() if name != "mechanism")

    @property
    def curve(self) -> tuple[Any, ...]:
        """All but the length: rows of one curve follow one law of growth."""
        return tuple(value for name, value in asdict(self).items() if name != "length")


@dataclass(frozen=True, slots=True)
class BenchRow:
    """What was measured for a cell, or why nothing was.

    Args:
        cell: What was measured.
        seconds: Median of the repeats, of one call (decode: of one step; generate: of all steps).
        low: Lower end of the median's bootstrap interval of 95%.
        high: Its upper end.
        ratio: Median of the ratios to the baseline's time in the same round; None where that was too slow.
        ratio_low: Lower end of its interval.
        ratio_high: Its upper end.
        repeats: Rounds.
        rounds: The seconds of each; empty in files of version 1.
        began: When the first began, in milliseconds since 1970; rows of one situation with the same number
            took turns, so that their rounds can be compared one by one.
        peak_bytes: Peak memory besides queries, keys and values: outputs, gradients, cache and work.
        predicted_bytes: The same by the formula that the mechanism declares.
        flops: Floating-point operations of matrix products and fused kernels, as they ran.
        kernel: The fused kernel that ran; "math" for SDPA without one; empty where none did.
        sampled: Of a generation: its steps were timed at some lengths and summed, instead of all.
        skipped: Why nothing was measured.
        date: Of the measurement, YYYY-MM-DD.
    """

    cell: BenchCell
    seconds: Share = None
    low: Share = None
    high: Share = None
    ratio: Share = None
    ratio_low: Share = None
    ratio_high: Share = None
    repeats: Annotated[int, Range(0)] = 0
    rounds: Annotated[tuple[Seconds, ...], Length(0, 1000)] = ()
    began: Annotated[int, Range(0)] = 0
    peak_bytes: Annotated[int | None, Range(0)] = None
    predicted_bytes: Annotated[int | None, Range(0)] = None
    flops: Share = None
    kernel: str = ""
    sampled: bool = False
    skipped: str | None = None
    date: str = ""


@dataclass(frozen=True)
class BenchGrid:
    """Settings whose every combination is a cell."""

    mechanisms: Sequence[str]
    phases: Sequence[Phase]
    lengths: Sequence[int]
    dtypes: Sequence[Dtype] = ("float32",)
    heads: Sequence[int] = (8,)
    kv_heads: Sequence[int | None] = (None,)
    head_dims: Sequence[int] = (64,)
    masks: Sequence[bool] = (True,)
    device: DeviceName = "cpu"
    batch: int = 1

    def __post_init__(self) -> None:
        """Refuse unknown mechanisms and impossible sizes before an hour of measuring."""
        known = [*MECHANISMS, *BACKENDS, RECOMPUTE]
        for name in self.mechanisms:
            if name not in known:
                raise UnknownName("mechanism", name, known)
        for name, sizes, allowed in (
            ("length", self.lengths, LENGTH),
            ("heads", self.heads, SIZE),
            ("kv_heads", [size for size in self.kv_heads if size is not None], SIZE),
            ("head_dim", self.head_dims, SIZE),
            ("batch", [self.batch], SIZE),
        ):
            for size in sizes:
                allowed.check(name, size)
        for heads, kv_heads in product(self.heads, self.kv_heads):
            if kv_heads is not None and heads % kv_heads:
                raise UsageError(
                    f"{heads} heads cannot share {kv_heads} kv_heads; give a number that divides"
                )

    def groups(self) -> Iterator[list[BenchCell]]:
        """Yield the cells of one situation after the other, the shortest lengths first."""
        for length, phase, dtype, heads, kv_heads, head_dim, causal in product(
            sorted(set(self.lengths)), self.phases, self.dtypes, self.heads, self.kv_heads, self.head_dims,
            self.masks,
        ):  # fmt: skip
            if not causal and phase not in ("forward", "train"):
                continue
            yield [
                BenchCell(
                    name,
                    phase,
                    length,
                    dtype,
                    heads,
                    kv_heads or heads,
                    head_dim,
                    causal,
                    self.device,
                    self.batch,
                )
                for name in dict.fromkeys([BASELINE, *self.mechanisms])
                if name != RECOMPUTE or phase == "generate"
            ]
