r"""The kernels: those of the test, on one matrix in float64, and those that are trained, on float32 batches.

.. math::
    C_t = \frac{\sum_s \kappa(q_t, k_s)\, v_s}{\sum_s \kappa(q_t, k_s)}

The test has the paper's kernels, those of the registry whose scores are a kernel, and some more; the trained
ones sum keys and values once where scores factor, and a test compares both. The paper compares
:math:`\kappa = \exp(q^\top k)` with :math:`\kappa = q^\top k`, neither divided by :math:`\sqrt d`. Every
mechanism of the registry that belongs to the linear family takes part, so a new one does too. The paper's
matrices hold no negative numbers, so features that are ReLU change nothing there.

Source:  arXiv:2310.11685, Definitions 3.4, 3.5 and C.3; the mechanisms' own pages; for elu + 1
         arXiv:2006.16236, eq. (7).
Differs: FAVOR+ divides queries and keys by d^(1/4) itself and is given them multiplied by it, so it
         estimates the paper's kernel. Rotary positions come from nhin's tables, which are float32; all
         else of the test is float64. Trained linear attention divides by the sum r of a row of scores, which
         noise and training carry through zero: 1/r is r / (r^2 + g^2) there, equal except for r of the size
         of g and never above 1/(2g). "lin-mean" divides by n instead.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from inspect import signature

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from nhin.attention.positions import Rotary
from nhin.attention.registry import MECHANISMS, build
from nhin.errors import UnknownName

Matrix = NDArray[np.float64]
Attend = Callable[[Matrix, Matrix, Matrix], Matrix]  # of (n, d) queries, keys and values

Queries = Float[Tensor, "B T D"]
Keys = Float[Tensor, "B S D"]

GUARD = 0.1  # in units of the mean score of a row, which is ln n times .64 before training
REFERENCE = "dot"
DEGREES = (2, 4, 8)
FEATURES = (64, 1024)
GROUPS = {"softmax": "exponentials", "linear": "linear attention", "powers": "powers of scores"}


@dataclass(frozen=True, slots=True)
class AttentionKernel:
    """One kernel."""

    name: str
    title: str
    group: str  # a key of ``GROUPS``
    make: Callable[[int, int], Attend]  # takes the width d and a seed


def select_kernels(names: Iterable[str] = ()) -> tuple[AttentionKernel, ...]:
    """Return kernels by name, in the order of the table; all when no name is given."""
    table = {kernel.name: kernel for kernel in _iter_kernels()}
    names = tuple(names)
    for name in names:
        if name not in table:
            raise UnknownName("kernel", name, table)
    return tuple(kernel for name, kernel in table.items() if not names or name in names)


def _iter_kernels() -> Iterator[AttentionKernel]:
    yield AttentionKernel(REFERENCE, "softmax, unscaled (the paper's)", "softmax", partial(_mechanism, "dot"))
    yield AttentionKernel("softmax", "softmax, scores over √d", "softmax", partial(_mechanism, "softmax"))
    yield AttentionKernel("dot-rotary", "softmax, unscaled, rotary", "softmax", _rotary)
    yield AttentionKernel("lin", "linear (the paper's)", "linear", partial(_power, 1))
    for name, kind in MECHANISMS.items():
        if kind.facts.family != "linear":
            continue
        if name == "performer":
            for features in FEATURES:
                title, make = f"FAVOR+, {features} features", partial(_unscaled_favor, features)
                yield AttentionKernel(f"{name}-{features}", title, "linear", make)
        else:
            yield AttentionKernel(name, kind.facts.title.lower(), "linear", partial(_mechanism, name))
    for degree in DEGREES:
        title = f"scores to the power {degree}"
        yield AttentionKernel(f"poly{degree}", title, "powers", partial(_power, degree))


def _mechanism(name: str, d: int, seed: int, **settings: object) -> Attend:
    """Run a mechanism of the registry with one batch and one head, in float64."""
    if "seed" in signature(MECHANISMS[name]).parameters:
        settings["seed"] = seed
    # A mechanism with parameters draws them from torch's global generator, whose state is restored.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mechanism = build(name, heads=1, head_dim=d, **settings).double().eval()

    def attend(q: Matrix, k: Matrix, v: Matrix) -> Matrix:
        heads = (torch.from_numpy(np.ascontiguousarray(x))[None, :, None] for x in (q, k, v))
        with torch.inference_mode():
            return mechanism(*heads)[0, :, 0].numpy()

    return attend


def _unscaled_favor(features: int, d: int, seed: int) -> Attend:
    attend, scale = _mechanism("performer", d, seed, features=features), d**0.25
    return lambda q, k, v: attend(q * scale, k * scale, v)


def _rotary(d: int, seed: int) -> Attend:
    attend, rotary = _mechanism("dot", d, seed), Rotary(d)

    def rotate(x: Matrix) -> Matrix:
        return rotary(torch.from_numpy(x)[None, :, None])[0, :, 0].numpy()

    return lambda q, k, v: attend(rotate(q), rotate(k), v)


def _power(degree: int, d: int, seed: int) -> Attend:
    """Use a power of the scores as weights: the paper's linear attention at 1; nothing is random."""

    def attend(q: Matrix, k: Matrix, v: Matrix) -> Matrix:
        queries, keys, values = map(torch.from_numpy, (q, k, v))
        scores = queries @ keys.T
        # Only ratios within a row matter, and those to its largest score do not overflow.
        powers = (scores / scores.abs().amax(1, keepdim=True)) ** degree
        return ((powers / powers.sum(1, keepdim=True)) @ values).numpy()

    return attend


def softmax(q: Queries, k: Keys, v: Keys) -> Queries:
    """Attend with softmax weights, unscaled as in the paper."""
    return (q @ k.mT).softmax(-1) @ v


def linear(q: Queries, k: Keys, v: Keys) -> Queries:
    """Attend with scores over the sum of their row, guarded against sums near zero."""
    mass = q @ k.mean(1)[:, :, None]
    return linear_mean(q, k, v) * (mass / (mass.square() + GUARD**2))


def linear_mean(q: Queries, k: Keys, v: Keys) -> Queries:
    """Attend with scores over the number of keys."""
    return q @ (k.mT @ v / k.shape[1])


def linear_elu(q: Queries, k: Keys, v: Keys) -> Queries:
    """Attend with products of the features elu + 1, normalized."""
    q, k = F.elu(q) + 1, F.elu(k) + 1
    return q @ (k.mT @ v) / (q @ k.sum(1)[:, :, None])


def fourth_power(q: Queries, k: Keys, v: Keys) -> Queries:
    """Attend with the fourth power of scores, normalized."""
    scores = q @ k.mT
    tiny = torch.finfo(scores.dtype).tiny
    # Only ratios within a row matter, and those to its largest score do not overflow.
    scores = scores / scores.detach().abs().amax(-1, keepdim=True).clamp_min(tiny)
    powers = scores.square().square()
    return (powers / powers.sum(-1, keepdim=True).clamp_min(tiny)) @ v


@dataclass(frozen=True, slots=True)
class TrainedKernel:
    """A kernel that is trained: its name in plain words, and the function."""

    title: str
    attend: Callable[[Tensor, Tensor, Tensor], Tensor]


# The last is a control: how well the layer after attention does without attention.
TRAINED_KERNELS = {
    "softmax": TrainedKernel("softmax", softmax),
    "lin": TrainedKernel("linear, normalised", linear),
    "lin-mean": TrainedKernel("linear, over n", linear_mean),
    "elu": TrainedKernel("linear, elu + 1", linear_elu),
    "poly4": TrainedKernel("scores to the power 4", fourth_power),
    "none": TrainedKernel("no attention", lambda q, k, v: q),
}
