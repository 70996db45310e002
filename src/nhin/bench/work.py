"""The calls that are timed: each phase of a cell as a function without arguments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature

import torch
from torch import Tensor

from nhin.attention.base import Cache, CacheSpec, Mechanism
from nhin.attention.kv_cache import KVCache
from nhin.attention.registry import MECHANISMS, build
from nhin.bench.backends import BACKENDS, BackendAttention
from nhin.bench.cells import BASELINE, RECOMPUTE, BenchCell
from nhin.errors import UsageError

STEPS = 128  # decoding steps that fit after the cached positions
SAMPLED, WHOLE = 8, 2048  # lengths at which a generation is timed, where it is longer than WHOLE
_CHUNK = 512  # positions per call while a cache is filled

Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Work:
    """A call to be timed.

    Args:
        run: The call.
        scale: Seconds of the cell for one second of the call.
        reset: Undoes what up to ``STEPS`` calls left behind; not timed.
        sampled: The call is a sample of what the cell is about.
    """

    run: Run
    scale: float = 1.0
    reset: Run = lambda: None
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class BenchInputs:
    """Queries, keys, values and the gradient of the output, (B T H D), shared by a group of cells."""

    q: Tensor
    k: Tensor
    v: Tensor
    grad: Tensor


def make_inputs(cell: BenchCell, seed: int = 0) -> BenchInputs:
    """Draw the inputs of a cell; one position when it decodes from a cache."""
    random = torch.Generator().manual_seed(seed)
    decodes = cell.phase == "decode" or (cell.phase == "generate" and cell.mechanism != RECOMPUTE)
    length = 1 if decodes else cell.length

    def draw(heads: int) -> Tensor:
        x = torch.randn(cell.batch, length, heads, cell.head_dim, generator=random)
        return x.to(cell.device, getattr(torch, cell.dtype)).requires_grad_(cell.phase == "train")

    q, k, v = draw(cell.heads), draw(cell.kv_heads), draw(cell.kv_heads)
    return BenchInputs(q, k, v, draw(cell.heads).detach() if cell.phase == "train" else q)


def build_bench_mechanism(cell: BenchCell) -> Mechanism:
    """Build the mechanism of a cell with its defaults, and a context that suffices.

    Raises:
        UsageError: It lacks the ability that the phase needs.
    """
    name = BASELINE if cell.mechanism == RECOMPUTE else cell.mechanism
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name in BACKENDS:
            mechanism: Mechanism = BackendAttention(name)
        else:
            has_context = "context" in signature(MECHANISMS[name]).parameters
            context = {"context": max(512, cell.length + STEPS)} if has_context else {}
            mechanism = build(name, heads=cell.heads, head_dim=cell.head_dim, **context)
    return mechanism.to(cell.device, getattr(torch, cell.dtype)).eval()


def build_work(cell: BenchCell, inputs: BenchInputs, whole: int = WHOLE) -> Work:
    """Return the call of a cell; a generation of up to ``whole`` positions takes every step.

    Raises:
        UsageError: The mechanism cannot do it.
    """
    mechanism = build_bench_mechanism(cell)
    check_phase(mechanism, cell)
    if cell.phase == "generate" and cell.length > whole:
        return _sample_generation(cell, mechanism, inputs)
    return _BUILDERS[cell.phase](cell, mechanism, inputs)


def sampling_scale(cell: BenchCell) -> float:
    """Return the seconds of a cell for one second of its call: more than 1 where a generation is sampled."""
    is_sampled = cell.phase == "generate" and (cell.mechanism == RECOMPUTE or cell.length > WHOLE)
    return cell.length / SAMPLED if is_sampled else 1.0


def _forward(cell: BenchCell, mechanism: Mechanism, x: BenchInputs) -> Work:
    return Work(torch.no_grad()(lambda: mechanism(x.q, x.k, x.v, causal=cell.causal)))


def _train(cell: BenchCell, mechanism: Mechanism, x: BenchInputs) -> Work:
    inputs = [x.q, x.k, x.v, *(p for p in mechanism.parameters() if p.requires_grad)]

    def run() -> Sequence[Tensor | None]:
        out = mechanism(x.q, x.k, x.v, causal=cell.causal)
        return torch.autograd.grad(out, inputs, x.grad, allow_unused=True)

    return Work(run)


def _prefill(cell: BenchCell, mechanism: Mechanism, x: BenchInputs) -> Work:
    return Work(
        torch.inference_mode()(lambda: _new_cache(cell, mechanism, cell.length).prefill(x.q, x.k, x.v))
    )


def _decode(cell: BenchCell, mechanism: Mechanism, x: BenchInputs) -> Work:
    return _decode_after(cell, mechanism, x, (cell.length,), 1.0)


def _generate(cell: BenchCell, mechanism: Mechanism, x: BenchInputs) -> Work:
    if cell.mechanism == RECOMPUTE:
        return _sample_generation(cell, mechanism, x)

    @torch.inference_mode()
    def run() -> None:
        cache = _new_cache(cell, mechanism, cell.length)
        for _ in range(cell.length):
            cache.step(x.q, x.k, x.v)

    return Work(run)


def _sample_generation(cell: BenchCell, mechanism: Mechanism, x: BenchInputs) -> Work:
    """Return one step at the midpoint of each of equal parts: exact where steps cost a line of the length."""
    nodes = [max(1, (2 * i + 1) * cell.length // (2 * SAMPLED)) for i in range(SAMPLED)]
    if cell.mechanism != RECOMPUTE:
        return _decode_after(cell, mechanism, x, nodes, cell.length / SAMPLED)

    @torch.inference_mode()
    def run() -> None:
        for node in nodes:
            mechanism(x.q[:, :node], x.k[:, :node], x.v[:, :node], causal=True)

    return Work(run, cell.length / SAMPLED, sampled=True)


def _decode_after(
    cell: BenchCell, mechanism: Mechanism, x: BenchInputs, lengths: Sequence[int], scale: float
) -> Work:
    """Return one step after each of some lengths."""
    caches = [_fill_cache(cell, mechanism, length) for length in lengths]
    can_truncate = "truncate" in mechanism.facts.abilities
    snapshots = [None if can_truncate else cache.snapshot() for cache in caches]

    @torch.inference_mode()
    def run() -> None:
        for cache in caches:
            cache.step(x.q, x.k, x.v)

    @torch.inference_mode()
    def reset() -> None:
        for cache, length, snapshot in zip(caches, lengths, snapshots, strict=True):
            _rewind(cache, length, snapshot)

    return Work(run, scale, reset, sampled=len(lengths) > 1)


def _rewind(cache: Cache, length: int, snapshot: Mapping[str, object] | None) -> None:
    if snapshot is None:
        cache.truncate(length)
    else:
        cache.restore(snapshot)


def _new_cache(cell: BenchCell, mechanism: Mechanism, context: int) -> Cache:
    dtype = getattr(torch, cell.dtype)
    return mechanism.init_cache(
        CacheSpec(cell.batch, context, cell.kv_heads, cell.head_dim, dtype, cell.device)
    )


@torch.inference_mode()
def _fill_cache(cell: BenchCell, mechanism: Mechanism, length: int) -> Cache:
    """Return a cache of ``length`` random positions."""
    cache = _new_cache(cell, mechanism, length + STEPS)
    random = torch.Generator().manual_seed(0)
    for start in range(0, length, _CHUNK):
        size = min(_CHUNK, length - start)
        q, k, v = (
            torch.randn(cell.batch, size, heads, cell.head_dim, generator=random).to(
                cell.device, getattr(torch, cell.dtype)
            )
            for heads in (cell.heads, cell.kv_heads, cell.kv_heads)
        )
        if type(cache) is KVCache:  # holds nothing but keys and values
            cache.append(k, v)
        else:
            cache.prefill(q, k, v)
    return cache


def check_phase(mechanism: Mechanism, cell: BenchCell) -> None:
    """Refuse what a mechanism is not able to do, before anything is allocated.

    Raises:
        UsageError: The message names the ability.
    """
    needs = {
        "decode": cell.phase in ("prefill", "decode", "generate"),
        "causal": cell.causal,
        "grouped": cell.kv_heads != cell.heads,
    }
    for ability, needed in needs.items():
        if needed and ability not in mechanism.facts.abilities:
            raise UsageError(f"{mechanism.facts.name} lacks the ability {ability!r}")


_BUILDERS: Mapping[str, Callable[[BenchCell, Mechanism, BenchInputs], Work]] = {
    "forward": _forward, "train": _train, "prefill": _prefill, "decode": _decode, "generate": _generate,
}  # fmt: skip
