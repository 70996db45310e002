"""Choose by measurement what computes softmax attention on a GPU, full or within a window, and say which.

The first call of each kind (device, dtype, sizes, lengths up to the same power of two) times every backend
that works; later calls of that kind take the fastest. Backends within 2% of it are ties, and the first listed
wins. On a CPU nothing is timed: the mechanism computes.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool
from torch import Tensor

from nhin.attention.band.chunked import Band
from nhin.attention.band.row_blocks import BandTiles
from nhin.attention.band.window import SlidingWindow
from nhin.attention.base import Keys, Queries
from nhin.attention.exact.softmax import Softmax
from nhin.attention.kernels.flash import KernelCall, attend
from nhin.attention.kernels.flex import attend_flex, build_block_mask
from nhin.attention.masked_softmax import repeat_heads, zero_nonfinite
from nhin.errors import UnknownName

Backend = Callable[[Queries, Keys, Keys, bool, int | None], Queries]
TIE = 1.02


def attend_mechanism(q: Queries, k: Keys, v: Keys, causal: bool, window: int | None) -> Queries:
    """Compute as ``softmax`` or ``window`` does by itself: on PyTorch's kernels."""
    mechanism = Softmax() if window is None else SlidingWindow(window)
    return mechanism(q, k, v, causal=causal)


def attend_triton(q: Queries, k: Keys, v: Keys, causal: bool, window: int | None) -> Queries:
    """Compute on our kernels."""
    k, v, nonfinite = zero_nonfinite(k, v)
    out = attend(q, k, v, KernelCall(causal, window))
    seen = _sees_any(nonfinite, q.shape[1], causal, window)
    return out.masked_fill(repeat_heads(seen[..., None], q.shape[2]), float("nan"))


def attend_flex_band(q: Queries, k: Keys, v: Keys, causal: bool, window: int | None) -> Queries:
    """Compute on FlexAttention."""
    t, s = q.shape[1], k.shape[1]
    pattern = BandTiles(Band(window or max(t, s)))
    k, v, nonfinite = zero_nonfinite(k, v)
    out = attend_flex(q, k, v, build_block_mask(pattern, t, s, causal=causal, device=q.device))
    seen = _sees_any(nonfinite, t, causal, window)
    return out.masked_fill(repeat_heads(seen[..., None], q.shape[2]), float("nan"))


def _sees_any(
    nonfinite: Bool[Tensor, "B S G"], queries: int, causal: bool, window: int | None
) -> Bool[Tensor, "B T G"]:
    """Return which queries see a key that is marked, from running counts."""
    s = nonfinite.shape[1]
    counts = (
        torch.cat([nonfinite.new_zeros(len(nonfinite), 1, nonfinite.shape[2]), nonfinite], 1).long().cumsum(1)
    )
    p = torch.arange(queries, device=nonfinite.device) + (s - queries)
    reach = max(queries, s) if window is None else window
    first, last = (p - reach + 1).clamp(0, s), (p + 1 if causal else p + reach).clamp(0, s)
    return counts[:, last] > counts[:, first]


BACKENDS: Mapping[str, Backend] = {
    "mechanism": attend_mechanism,
    "triton": attend_triton,
    "flex": attend_flex_band,
}


@dataclass(frozen=True)
class Choice:
    """What a kind of call runs on."""

    backend: str
    seconds: Mapping[str, float] = field(default_factory=dict)  # median of each backend that works
    refused: Mapping[str, str] = field(default_factory=dict)  # why the others do not

    def __str__(self) -> str:
        """Say which it is, and why."""
        times = ", ".join(f"{name} {seconds * 1e3:.3f} ms" for name, seconds in self.seconds.items())
        others = "".join(f"; {name} does not run: {why}" for name, why in self.refused.items())
        return f"{self.backend}{f' ({times})' if times else ''}{others}"


def time_on_gpu(run: Callable[[], object], repeats: int = 5) -> float:
    """Return the median seconds of a run on the current GPU, after two that are not counted."""
    return statistics.median([time_once_on_gpu(run) for _ in range(repeats + 2)][2:])


def time_once_on_gpu(run: Callable[[], object]) -> float:
    """Return the seconds of one run on the current GPU."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


class BackendChooser:
    """Times backends once for each kind of call and remembers the fastest, in this process alone.

    Args:
        backends: By name; of those that tie, the first is taken.
        timer: Returns the seconds of a run.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend] = BACKENDS,
        timer: Callable[[Callable[[], object]], float] = time_on_gpu,
    ) -> None:
        self.backends, self.timer = backends, timer
        self.choices: dict[tuple, Choice] = {}

    def attend(
        self,
        q: Queries,
        k: Keys,
        v: Keys,
        *,
        causal: bool = False,
        window: int | None = None,
        backend: str | None = None,
    ) -> Queries:
        """Mix values on the fastest backend, or on the one named, which always wins."""
        name = backend or self.choose(q, k, v, causal=causal, window=window).backend
        if name not in self.backends:
            raise UnknownName("backend", name, self.backends)
        return self.backends[name](q, k, v, causal, window)

    def choose(
        self, q: Queries, k: Keys, v: Keys, *, causal: bool = False, window: int | None = None
    ) -> Choice:
        """Return what a call of this kind runs on, timing it if it is the first."""
        if q.device.type == "cpu" or 0 in (q.numel(), k.numel()):
            return Choice("mechanism")
        trains = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
        lengths = tuple((x.shape[1] - 1).bit_length() for x in (q, k))
        rest = q.shape[0], q.shape[2:], k.shape[2], q.dtype, q.device, causal, window, trains
        key = lengths, rest
        if key not in self.choices:
            self.choices[key] = self._measure(tuple(x.detach() for x in (q, k, v)), causal, window, trains)
        return self.choices[key]

    def _measure(self, inputs: tuple[Tensor, ...], causal: bool, window: int | None, trains: bool) -> Choice:
        seconds, refused = {}, {}
        for name, backend in self.backends.items():

            def run(attend: Backend = backend) -> None:
                leaves = [x.requires_grad_(trains) for x in (x.detach() for x in inputs)]
                out = attend(leaves[0], leaves[1], leaves[2], causal, window)
                if trains:
                    torch.autograd.grad(out, leaves, torch.ones_like(out))

            try:
                with torch.set_grad_enabled(trains):
                    seconds[name] = self.timer(run)
            except Exception as why:  # noqa: BLE001 # compilers raise anything; the others go on
                refused[name] = f"{type(why).__name__}: {(str(why).splitlines() or [''])[0][:200]}"
        if not seconds:
            return Choice("mechanism", {}, refused)
        limit = TIE * min(seconds.values())
        return Choice(next(n for n, spent in seconds.items() if spent <= limit), seconds, refused)
