"""Time our Triton kernels on a GPU beside PyTorch's: correctness first, then TFLOP/s.

    python benchmarks/gpu.py                    at most 8 minutes; writes benchmarks/gpu.json
    python benchmarks/gpu.py --seconds 240      in less time

bfloat16, 16,384 positions in all, 16 heads of width 128 (a model width of 2,048):
    full      causal attention at 8,192 positions, forward and backward
    window    a window of 1,024 at 32,768 positions, beside full causal attention at that length
Peers: PyTorch's flash and cuDNN kernels, each alone allowed, and FlexAttention, compiled. FLOPs are those
of the formula, 4 n^2 D H B, half of that when causal and 2.5 times in the backward pass; for the window,
those of the pairs it shows. A time is the median of 20 runs by the GPU's own clock, after warm-up (of 5 or
more where time runs out). What cannot be run is a row with its reason; what is wrong is not timed. Elsewhere
than on a GPU it ends with one line.

The JSON: {machine, settings, correct: [{what, error, limit, ok}], seconds,
           tried_blocks: {pass: {blocks: ms or the reason}},
           rows: [{case, pass, backend, ms, tflops} or {case, pass, backend, skipped}]}
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measuring import describe_machine, make_parser, save_json
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from nhin.attention.backends import time_once_on_gpu
from nhin.attention.band.chunked import Band
from nhin.attention.band.row_blocks import BandTiles
from nhin.attention.band.window import SlidingWindow
from nhin.attention.exact.naive import Naive
from nhin.attention.kernels.flash import BACKWARD_BLOCKS, FORWARD_BLOCKS, KernelCall, attend
from nhin.attention.kernels.flex import attend_flex, build_block_mask
from nhin.errors import MissingExtra

HEADS, WIDTH, TOKENS = 16, 128, 16384
RUNS, MAX_SECONDS = 20, 480.0
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What is timed: causal attention in bfloat16."""

    name: str
    length: int
    batch: int
    window: int | None = None

    @property
    def flops(self) -> float:
        """Return the operations of a forward pass."""
        n, w = self.length, self.window or self.length
        pairs = n * w - w * w / 2
        return 4.0 * pairs * WIDTH * HEADS * self.batch

    def draw(self) -> list[Tensor]:
        """Draw queries, keys and values that take gradients."""
        shape = self.batch, self.length, HEADS, WIDTH
        torch.manual_seed(0)
        return [torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]


FULL = Case("full", 8192, TOKENS // 8192)
CASES = (FULL, Case("window", 32768, 1, 1024), Case("full at 32768", 32768, 1))


def fused(backend: SDPBackend) -> Attend:
    """Return PyTorch's attention with one kernel allowed: another cannot run in its place."""

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel([backend], set_priority=True):
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)

    return run


def flex(case: Case) -> Attend:
    """Return FlexAttention with the mask of a case, built once."""
    n, pattern = case.length, BandTiles(Band(case.window or case.length))
    mask = build_block_mask(pattern, n, n, causal=True, device=torch.device("cuda"))
    return lambda q, k, v: attend_flex(q, k, v, mask)


def ours(call: KernelCall) -> Attend:
    """Return our kernels."""
    return lambda q, k, v: attend(q, k, v, call)


def time_run(run: Callable[[], object], deadline: float) -> float:
    """Return the median milliseconds of a run, after three that are not counted."""
    for _ in range(3):
        run()
    times = []
    while len(times) < RUNS and (len(times) < 5 or time.monotonic() < deadline):
        times.append(1e3 * time_once_on_gpu(run))
    return statistics.median(times)


def time_passes(case: Case, attend: Attend, deadline: float) -> dict[str, float]:
    """Return the milliseconds of the forward and of the backward pass."""
    inputs = case.draw()
    with torch.no_grad():
        times = {"forward": time_run(lambda: attend(*inputs), deadline)}
    out = attend(*inputs)
    grad = torch.randn_like(out)
    times["backward"] = time_run(lambda: torch.autograd.grad(out, inputs, grad, retain_graph=True), deadline)
    return times


def check_correctness() -> list[Row]:
    """Compare values and gradients with the formula in float64, at odd and unequal lengths."""
    rows = []
    for dtype, limit in ((torch.float32, 1e-5), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)):
        for t, s, window in ((301, 301, None), (129, 517, None), (517, 129, None), (515, 515, 65)):
            for width in (32, 80, 128):
                rows.append(_check_case(dtype, limit, (t, s, window, width)))
                row = rows[-1]
                print(
                    f"{row['what']:60} error {row['error']:.1e}, at most {limit:.0e}: {row['ok']}", flush=True
                )
    return rows


def _check_case(dtype: torch.dtype, limit: float, sizes: tuple[int, int, int | None, int]) -> Row:
    t, s, window, width = sizes
    torch.manual_seed(0)
    q = torch.randn(2, t, 4, width, device="cuda").to(dtype).requires_grad_()
    k, v = (torch.randn(2, s, 2, width, device="cuda").to(dtype).requires_grad_() for _ in range(2))
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    mechanism = Naive() if window is None else SlidingWindow(window)
    out, want = attend(q, k, v, KernelCall(True, window)), mechanism.forward_reference(*exact, causal=True)
    grad = torch.randn_like(out)
    got = out, *torch.autograd.grad(out, (q, k, v), grad)
    wanted = want, *torch.autograd.grad(want, exact, grad.double())
    error = max(float((a.double() - b).norm() / b.norm()) for a, b in zip(got, wanted, strict=True))
    what = f"{str(dtype)[6:]}, {t} queries, {s} keys, window {window}, head_dim {width}"
    return {"what": what, "error": error, "limit": limit, "ok": error <= limit}


def find_best_blocks(deadline: float) -> tuple[KernelCall, dict[str, Row]]:
    """Time every size of blocks at the full case, and return the fastest."""
    best: dict[str, tuple[float, Any]] = {}
    tried: dict[str, Row] = {"forward": {}, "backward": {}}
    for way, options in (("forward", FORWARD_BLOCKS), ("backward", BACKWARD_BLOCKS)):
        for blocks in options:
            if time.monotonic() > deadline:
                break
            call = replace(KernelCall(True), **{way: blocks})
            try:
                spent = time_passes(FULL, ours(call), deadline)[way]
            except Exception as why:  # noqa: BLE001 # a compiler raises anything; the others go on
                tried[way][str(blocks)] = f"{type(why).__name__}: {str(why)[:200]}"
                continue
            tried[way][str(blocks)] = round(spent, 4)
            best[way] = min(best.get(way, (spent, blocks)), (spent, blocks), key=lambda pair: pair[0])
            print(f"{way} with {blocks}: {spent:.3f} ms", flush=True)
    return replace(KernelCall(True), **{way: blocks for way, (_, blocks) in best.items()}), tried


def measure_case(case: Case, call: KernelCall, deadline: float) -> list[Row]:
    """Time every backend at one case."""
    backends: dict[str, Callable[[], Attend]] = {
        "ours": lambda: ours(replace(call, window=case.window)),
        "FlexAttention": lambda: flex(case),
    }
    if case.window is None:
        backends["SDPA flash"] = lambda: fused(SDPBackend.FLASH_ATTENTION)
        backends["SDPA cuDNN"] = lambda: fused(SDPBackend.CUDNN_ATTENTION)
    rows: list[Row] = []
    for name, make in backends.items():
        row = {"case": case.name, "backend": name}
        try:
            if time.monotonic() > deadline:
                raise TimeoutError("no time left")
            times = time_passes(case, make(), deadline)
        except Exception as why:  # noqa: BLE001 # a missing backend raises anything; the others go on
            rows.append(row | {"pass": "both", "skipped": f"{type(why).__name__}: {str(why)[:200]}"})
            print(f"{case.name:14} {name:14} left out: {rows[-1]['skipped']}", flush=True)
            continue
        for way, ms in times.items():
            tflops = case.flops * (2.5 if way == "backward" else 1.0) / ms / 1e9
            rows.append(row | {"pass": way, "ms": round(ms, 4), "tflops": round(tflops, 1)})
            print(f"{case.name:14} {name:14} {way:8} {ms:9.3f} ms {tflops:7.1f} TFLOP/s", flush=True)
    return rows


def main() -> int:
    """Check, time, print, and write the JSON after every part."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--seconds", type=float, default=MAX_SECONDS, help="time for everything (default: 480)"
    )
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a GPU, and PyTorch finds none here", file=sys.stderr)
        return 1
    path = args.json or Path(__file__).with_suffix(".json")
    begin = time.monotonic()
    deadline = begin + args.seconds
    details = torch.cuda.get_device_name(), f"torch {torch.__version__}", f"CUDA {torch.version.cuda}"
    settings = {"dtype": "bfloat16", "heads": HEADS, "head_dim": WIDTH, "tokens": TOKENS, "runs": RUNS}
    results: dict[str, Any] = {"machine": describe_machine(*details), "settings": settings, "rows": []}
    try:
        results["correct"] = check_correctness()
    except MissingExtra as why:
        print(why, file=sys.stderr)
        return why.exit_code
    save_json(path, results)
    if not all(row["ok"] for row in results["correct"]):
        print("our kernels are wrong here, so they are not timed", file=sys.stderr)
        return 1
    call, results["tried_blocks"] = find_best_blocks(begin + args.seconds / 2)
    for case in CASES:
        results["rows"] += measure_case(case, call, deadline)
        results["seconds"] = round(time.monotonic() - begin, 1)
        save_json(path, results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
