r"""Training the paper's network, whose weights are random there, on the task with noise.

.. math::
    C = f(A_1 Q,\, A_2 K)\, A_2, \qquad \mathrm{logit} = w_0 + \sum_{l=1}^m w_l\,
    \frac{1}{n} \sum_{i=1}^n \mathrm{relu}(\langle C_i, y_l \rangle - \tau_l)

with Q and K, y, the thresholds tau and the head w trained by Adam on the logistic loss, and batches that
hold as many matrices of D1 as of D0. Q and K begin as the identity, which is the paper's vec(I); y begins
as signs, and thresholds at c, the constant column.

In self-attention the rows of C follow the query's own row, which may hold the spike: the layer after
attention tells much of D1 without attention, which the kernel "none" shows. Where the queries have no spike
("c2"), all that is told is what attention found; with scores linear in the keys that is their second moments.

Source:  the network: arXiv:2310.11685, Definitions C.3 and C.5; all that concerns training: nhin's own.
Differs: the paper's last layer adds all up and compares with zero: its w is 1 and its tau one for all.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.random import SeedSequence
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from nhin.errors import Diverged, UnknownName, UsageError
from nhin.replication.attention import dense
from nhin.replication.beyond.mixers import MIXERS
from nhin.replication.beyond.task import Task
from nhin.replication.bounds import finite, whole

Examples = Float[Tensor, "B n d"]
Logits = Float[Tensor, " B"]

_AT_ONCE = 1 << 22  # scores formed at once when a network is tried
HELD = 1 << 26  # most numbers of the scores of a batch


@dataclass(frozen=True, slots=True)
class Course:
    """How a network is trained and tried.

    Args:
        steps: Of Adam.
        batch: Matrices of a step, an even number.
        rate: Of the first step; it falls to zero along half a cosine.
        tried: Matrices the trained network is tried on, an even number.

    Raises:
        UsageError: A number is out of range.
    """

    steps: int = 1200
    batch: int = 48
    rate: float = 0.02
    tried: int = 2000

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        whole("steps", self.steps, 1, 10**6)
        finite("rate", self.rate, 1e-9, 10.0)
        for name, most in (("batch", 10**4), ("tried", 10**6)):
            whole(name, getattr(self, name), 2, most)
            if getattr(self, name) % 2:
                raise UsageError(f"{name} is {getattr(self, name)}; make it even, half of D1 and half of D0")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run.

    Args:
        accuracy: How often the trained network is right about new matrices.
        loss: Its mean logistic loss on them, in nats.
    """

    accuracy: float
    loss: float


class Network(nn.Module):
    """Attention without values of its own, and the paper's last layer.

    Args:
        kernel: A key of ``MIXERS``.
        task: Gives the sizes.
        seed: Draws y and the head.

    Raises:
        UnknownName: There is no such kernel.
    """

    def __init__(self, kernel: str, task: Task, seed: SeedSequence) -> None:
        super().__init__()
        if kernel not in MIXERS:
            raise UnknownName("kernel", kernel, MIXERS)
        setting, generator = task.setting, _generator(seed)
        self.mix, self.level = MIXERS[kernel].mix, math.sqrt(setting.log_n)
        self.query, self.key = (nn.Parameter(torch.eye(setting.d)) for _ in range(2))
        signs = torch.randint(2, (setting.d, setting.m), generator=generator) * 2.0 - 1
        self.y = nn.Parameter(signs)
        # At the paper's c + margin, elu + 1 lets next to nothing through: of three seeds at n = 192 one never
        # learned.
        self.thresholds = nn.Parameter(torch.full((setting.m,), setting.c))
        self.head = nn.Parameter(torch.randn(setting.m, generator=generator))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, queries: Examples, keys: Examples) -> Logits:
        """Return the logarithms of the odds of D1.

        Args:
            queries: A1, in units of sqrt(ln n).
            keys: A2, which is mixed too.
        """
        q, k = self.level * queries @ self.query, self.level * keys @ self.key
        heard = (self.mix(q, k, keys) @ self.y - self.thresholds).relu()
        return heard.mean(1) @ self.head + self.offset


def train(network: Network, task: Task, course: Course, seed: SeedSequence) -> Iterator[float]:
    """Take the steps of a course, and yield the loss of each batch before its step.

    Raises:
        Diverged: A loss is not finite.
    """
    generator, base = _generator(seed), _base(task)
    adam = torch.optim.Adam(network.parameters(), lr=course.rate)
    for step in range(course.steps):
        for group in adam.param_groups:
            group["lr"] = course.rate * (1 + math.cos(math.pi * step / course.steps)) / 2
        queries, keys, labels = batch_of(task, base, course.batch, generator)
        loss = binary_cross_entropy_with_logits(network(queries, keys), labels)
        if not torch.isfinite(loss):
            raise Diverged(f"the loss is {loss.item()} at step {step}; lower the rate")
        adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        yield loss.item()


def tried(network: Network, task: Task, course: Course, seed: SeedSequence) -> Result:
    """Try a network on new matrices.

    Raises:
        Diverged: Their loss is not finite.
    """
    generator, base = _generator(seed), _base(task)
    most = max(2, _AT_ONCE // _scores(task) // 2 * 2)
    right = loss = 0.0
    with torch.inference_mode():
        for start in range(0, course.tried, most):
            many = min(most, course.tried - start)
            queries, keys, labels = batch_of(task, base, many, generator)
            logits = network(queries, keys)
            right += float(((logits > 0) == (labels > 0)).sum())
            loss += float(softplus(torch.where(labels > 0, -logits, logits)).sum())
    if not math.isfinite(loss):
        raise Diverged("the loss of the trained network is no number; lower the rate")
    return Result(right / course.tried, loss / course.tried)


def run(kernel: str, task: Task, course: Course, seed: int) -> Result:
    """Train one network from its beginning and try it, on one thread; the same seed, the same result.

    The data depend on the seed and not on the kernel, so kernels are compared on the same matrices.

    Raises:
        UnknownName: There is no such kernel.
        UsageError: The seed is no seed, or a batch would hold too much.
        Diverged: A loss is not finite.
    """
    whole("seed", seed, 0, 2**63)
    check_size(task, course)
    weights, lessons, trials = SeedSequence(seed).spawn(3)
    with one_thread():
        network = Network(kernel, task, weights)
        for _ in train(network, task, course, lessons):
            pass
        return tried(network, task, course, trials)


def check_size(task: Task, course: Course) -> None:
    """Refuse batches whose scores would take more than a quarter of a gigabyte.

    Raises:
        UsageError: They would.
    """
    if course.batch * _scores(task) > HELD:
        raise UsageError(
            f"a batch of {course.batch} with n = {task.setting.n} has more than {HELD} scores; lower one"
        )


def batch_of(
    task: Task, base: Float[Tensor, "n d"], many: int, generator: torch.Generator
) -> tuple[Examples, Examples, Logits]:
    """Draw matrices: queries, keys, and 1 for those of D1, which are the first half.

    Args:
        task: The task.
        base: The matrix without spike and noise.
        many: How many, an even number.
        generator: Draws noise and rows.
    """
    labels = (torch.arange(many) < many // 2).float()
    one, zero = task.setting.spikes
    spikes = torch.where(labels > 0, one, zero)
    keys = base + task.sigma * torch.randn(many, *base.shape, generator=generator)
    rows = torch.randint(task.setting.n, (many,), generator=generator)
    keys[torch.arange(many), rows, 0] += spikes
    if task.setting.kind == "self":
        return keys, keys, labels
    return base + task.sigma * torch.randn(many, *base.shape, generator=generator), keys, labels


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch add up in one order: sums of several threads differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _scores(task: Task) -> int:
    """Return how many numbers one matrix takes while it is mixed and heard."""
    return task.setting.n * max(task.setting.n, task.setting.d, task.setting.m)


def _base(task: Task) -> Float[Tensor, "n d"]:
    plain = dense.matrix(task.setting, 0.0, 0) / math.sqrt(task.setting.log_n)
    return torch.from_numpy(plain.astype(np.float32))


def _generator(seed: SeedSequence) -> torch.Generator:
    return torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0]) >> 1)
