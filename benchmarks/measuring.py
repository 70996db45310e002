"""What benches of attention share: time, ratios, memory, growth, and when a case is left out."""

import gc
import math
import statistics
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MOST_SECONDS, MOST_BYTES = 20.0, 6e9

Run = Callable[[], object]
Cell = dict[str, Any]


def seconds(run: Run, times: int = 1) -> float:
    """Return how much of this thread's time one run takes, on average of several."""
    begin = time.thread_time()
    for _ in range(times):
        run()
    return (time.thread_time() - begin) / times


def spread(ratios: Sequence[float]) -> Cell:
    """Return median, least and greatest, rounded."""
    return {
        "ratio": round(statistics.median(ratios), 3),
        "min": round(min(ratios), 3),
        "max": round(max(ratios), 3),
    }


def exponent(cells: Mapping[str, Cell], key: str) -> float | None:
    """Return p when a figure grows like length^p between the two longest lengths that were measured."""
    known = sorted((int(length), cell[key]) for length, cell in cells.items() if key in cell)
    if len(known) < 2 or min(known[-1][1], known[-2][1]) <= 0:
        return None
    (short, low), (long, high) = known[-2:]
    return round(math.log(high / low) / math.log(long / short), 2)


def why_not(cells: Mapping[str, Cell], length: int) -> str | None:
    """Say why a length is left out, judged by the shorter ones; quadratic while only one is known."""
    if any("skipped" in cell for cell in cells.values()):
        return "a shorter one was too much"
    if not cells:
        return None
    last = max(cells, key=int)
    longer = length / int(last)
    for key, unit, most in (("ms", 1e-3, MOST_SECONDS), ("peak_mb", 2**20, MOST_BYTES)):
        power = exponent(cells, key)
        will = cells[last][key] * unit * longer ** (2.0 if power is None else min(max(power, 1.0), 2.5))
        if will > most:
            return f"about {will:.0f} s" if key == "ms" else f"about {will / 1e9:.0f} GB"
    return None


class Held(TorchDispatchMode):
    """Follows the bytes that operations return, from their first use to their end."""

    def __init__(self, known: Sequence[Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self._alive = {x.untyped_storage()._cdata for x in known}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Run an operation and count the storages it made."""
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in self._alive:
                storage = x.untyped_storage()
                self._alive.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return out

    def _gone(self, which: int, size: int) -> None:
        self._alive.discard(which)
        self.now -= size


def peak(run: Run, known: Sequence[Tensor]) -> float:
    """Return the most megabytes held during a run beyond what it was given and what it returns."""
    gc.collect()
    with Held(known) as held:
        out = run()
    kept = sum(x.nbytes for x in tree_leaves(out) if isinstance(x, Tensor))
    return round(max(0, held.most - kept) / 2**20, 2)


def told(cell: Cell, unit: str) -> str:
    """Return a cell in words."""
    if "skipped" in cell:
        return f"    left out: {cell['skipped']}"
    memory = f"{cell['peak_mb']:9.1f} MB" if "peak_mb" in cell else ""
    return f"{cell[unit]:10.1f} {unit} {cell['ratio']:8.3f}x ({cell['min']:.3f} to {cell['max']:.3f}){memory}"
