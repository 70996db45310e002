r"""Training the paper's network, whose weights are random there, on the task with noise.

.. math::
    C = f(A_1 Q,\, A_2 K)\, A_2, \qquad \mathrm{logit} = w_0 + \sum_{l=1}^m w_l\,
    \frac{1}{n} \sum_{i=1}^n \mathrm{relu}(\langle C_i, y_l \rangle - \tau_l)

with Q and K, y, the thresholds tau and the head w trained by Adam on the logistic loss, and batches that
hold as many matrices of D1 as of D0. Q and K begin as the identity, which is the paper's vec(I); y begins
as signs, and thresholds at c, the constant column.

In self-attention the rows of C follow the query's own row, which may hold the spike: the layer after
attention recognizes much of D1 without attention, as the kernel "none" shows. Where the queries have no spike
("c2"), all information comes through attention; with scores linear in the keys that is second moments.

Source:  the network: arXiv:2310.11685, Definitions C.3 and C.5; all that concerns training: nhin's own.
Differs: the paper's last layer adds all up and compares with zero: its w is 1 and its tau one for all.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from numpy.random import SeedSequence
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from nhin.config import check_fields
from nhin.errors import Diverged, UnknownName, UsageError
from nhin.ranges import Range, check_int
from nhin.studies.separation.kernels_study.attention_kernels import TRAINED_KERNELS
from nhin.studies.separation.kernels_study.detectors import NoisyTask
from nhin.studies.separation.reference import build_matrix

Examples = Float[Tensor, "B n d"]
Logits = Float[Tensor, " B"]

_TEST_SCORES = 1 << 22  # scores formed at once in the test
MAX_BATCH_SCORES = 1 << 26


@dataclass(frozen=True, slots=True)
class StudyTrainConfig:
    """Settings of training and test; batches and test matrices are half of D1 and half of D0."""

    steps: Annotated[int, Range(1, 10**6)] = 1200
    batch: Annotated[int, Range(2, 10**4)] = 48
    rate: Annotated[float, Range(1e-9, 10)] = 0.02  # falls to zero along half a cosine
    tried: Annotated[int, Range(2, 10**6)] = 2000  # matrices of the test

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("batch", "tried"):
            if (value := getattr(self, name)) % 2:
                raise UsageError(f"{name} is {value}; make it even, half of D1 and half of D0")


class OneLayerNet(nn.Module):
    """Attention whose values are the keys' rows, and the paper's last layer."""

    def __init__(self, kernel: str, task: NoisyTask, seed: SeedSequence) -> None:
        super().__init__()
        if kernel not in TRAINED_KERNELS:
            raise UnknownName("kernel", kernel, TRAINED_KERNELS)
        config, generator = task.setting, _torch_generator(seed)
        self.attend, self.scale = TRAINED_KERNELS[kernel].attend, math.sqrt(config.log_n)
        self.query, self.key = (nn.Parameter(torch.eye(config.d)) for _ in range(2))
        signs = torch.randint(2, (config.d, config.m), generator=generator) * 2.0 - 1
        self.y = nn.Parameter(signs)
        # At the paper's c + margin, almost nothing of elu + 1 exceeds the threshold: one of three seeds at
        # n = 192 never learned.
        self.thresholds = nn.Parameter(torch.full((config.m,), config.c))
        self.head = nn.Parameter(torch.randn(config.m, generator=generator))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, queries: Examples, keys: Examples) -> Logits:
        """Return the log odds of D1 from A1 and A2, in units of sqrt(ln n); A2 holds the values too."""
        q, k = self.scale * queries @ self.query, self.scale * keys @ self.key
        excess = (self.attend(q, k, keys) @ self.y - self.thresholds).relu()
        return excess.mean(1) @ self.head + self.offset


def train_net(
    network: OneLayerNet, task: NoisyTask, config: StudyTrainConfig, seed: SeedSequence
) -> Iterator[float]:
    """Train a network, and yield the loss of each batch before its step."""
    generator, base = _torch_generator(seed), _plain_matrix(task)
    adam = torch.optim.Adam(network.parameters(), lr=config.rate)
    for step in range(config.steps):
        for group in adam.param_groups:
            group["lr"] = config.rate * (1 + math.cos(math.pi * step / config.steps)) / 2
        queries, keys, labels = make_batch(task, base, config.batch, generator)
        loss = binary_cross_entropy_with_logits(network(queries, keys), labels)
        if not torch.isfinite(loss):
            raise Diverged(f"the loss is {loss.item()} at step {step}; lower the rate")
        adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        yield loss.item()


def evaluate_net(
    network: OneLayerNet, task: NoisyTask, config: StudyTrainConfig, seed: SeedSequence
) -> tuple[float, float]:
    """Return the accuracy and the mean logistic loss in nats of a network on new matrices."""
    generator, base = _torch_generator(seed), _plain_matrix(task)
    batch = max(2, _TEST_SCORES // _scores_per_matrix(task) // 2 * 2)
    correct = loss = 0.0
    with torch.inference_mode():
        for start in range(0, config.tried, batch):
            size = min(batch, config.tried - start)
            queries, keys, labels = make_batch(task, base, size, generator)
            logits = network(queries, keys)
            correct += float(((logits > 0) == (labels > 0)).sum())
            loss += float(softplus(torch.where(labels > 0, -logits, logits)).sum())
    if not math.isfinite(loss):
        raise Diverged("the loss of the trained network is no number; lower the rate")
    return correct / config.tried, loss / config.tried


def train_and_test(kernel: str, task: NoisyTask, config: StudyTrainConfig, seed: int) -> tuple[float, float]:
    """Train a network on one thread and return its accuracy and loss; all kernels get the same matrices."""
    check_int("seed", seed, 0, 2**63)
    check_batch_size(task, config)
    weights, training, test = SeedSequence(seed).spawn(3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums of several threads differ in their last bits
    try:
        network = OneLayerNet(kernel, task, weights)
        for _ in train_net(network, task, config, training):
            pass
        return evaluate_net(network, task, config, test)
    finally:
        torch.set_num_threads(threads)


def check_batch_size(task: NoisyTask, config: StudyTrainConfig) -> None:
    """Refuse batches whose scores would take more than a quarter of a gigabyte."""
    if config.batch * _scores_per_matrix(task) > MAX_BATCH_SCORES:
        raise UsageError(
            f"a batch of {config.batch} with n = {task.setting.n} has more than {MAX_BATCH_SCORES} scores; "
            "lower one"
        )


def make_batch(
    task: NoisyTask, base: Float[Tensor, "n d"], size: int, generator: torch.Generator
) -> tuple[Examples, Examples, Logits]:
    """Draw queries, keys and labels, 1 for D1, the first half; ``base`` has neither spike nor noise."""
    labels = (torch.arange(size) < size // 2).float()
    one, zero = task.setting.spikes
    spikes = torch.where(labels > 0, one, zero)
    keys = base + task.sigma * torch.randn(size, *base.shape, generator=generator)
    rows = torch.randint(task.setting.n, (size,), generator=generator)
    keys[torch.arange(size), rows, 0] += spikes
    if task.setting.kind == "self":
        return keys, keys, labels
    return base + task.sigma * torch.randn(size, *base.shape, generator=generator), keys, labels


def _scores_per_matrix(task: NoisyTask) -> int:
    """Return how many numbers the largest intermediate of one matrix has."""
    return task.setting.n * max(task.setting.n, task.setting.d, task.setting.m)


def _plain_matrix(task: NoisyTask) -> Float[Tensor, "n d"]:
    matrix = build_matrix(task.setting, 0.0, 0) / math.sqrt(task.setting.log_n)
    return torch.from_numpy(matrix.astype(np.float32))


def _torch_generator(seed: SeedSequence) -> torch.Generator:
    return torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0]) >> 1)
