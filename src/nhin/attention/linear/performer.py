r"""Performer: softmax attention estimated with positive orthogonal random features (FAVOR+).

.. math::
    \exp(q^\top k) = \mathbb{E}_{\omega \sim \mathcal{N}(0, I)}\left[
        e^{\omega^\top q - \|q\|^2 / 2}\, e^{\omega^\top k - \|k\|^2 / 2}\right], \qquad
    \phi(x)_i = \tfrac{1}{\sqrt{m}}\, e^{\omega_i^\top x - \|x\|^2 / 2}, \quad
    x \leftarrow x / D^{1/4}

The kernel is estimated without bias by m features, then used as in linear attention. Directions of one block
of D are orthogonal, with the lengths of Gaussian vectors, which is more accurate than independent ones. The
error falls with more features and grows fast with the length of queries and keys. It pays to run a model
trained with softmax on long texts; trained from scratch, plain linear attention is several times cheaper.

Causal:  the sums run over s <= t only.
Cost:    time O((T + S) m D); memory O(m D), causally O(T m D / chunk) to train.
Source:  Choromanski et al. 2020, arXiv:2009.14794, lemma 1, eq. (5) and section 2.4.
Differs: logarithms of keys are relative to their largest so far, feature by feature, where the authors' code
         takes one maximum over all keys, which is not causal, and adds an epsilon, which biases. The factor
         1/sqrt(m) cancels and is left out. Features are not drawn again during training. Exported graphs, and
         calls under ``torch.func``, compute the weights of all pairs and hold T x S x m numbers.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from nhin.attention.base import Queries
from nhin.attention.linear import chunked_scan
from nhin.attention.linear.base import FeatureInputs, KernelizedAttention, linear_facts
from nhin.attention.tables import ComputedTables
from nhin.ranges import check_size


class Performer(KernelizedAttention, ComputedTables):
    """Softmax attention in linear time, approximately.

    Args:
        head_dim: Width of one head.
        features: Number of random directions; D ln D, rounded up, when None.
        seed: Draws them: the same seed, the same features, on every device and in every dtype.
    """

    feature_map = "exp"
    projection: Float[Tensor, "D M"]
    save_tables = True
    facts = linear_facts(
        "performer",
        "Performer (FAVOR+)",
        time="O((T + S)·m·D)",
        memory="O(m·D)",
        source="arXiv:2009.14794",
        state="G·(m·D + 2·m)",
        use="To approach softmax on long texts without a table, where some error is allowed.",
    )

    def __init__(
        self, head_dim: int, features: int | None = None, seed: int = 0, chunk: int = chunked_scan.CHUNK
    ) -> None:
        super().__init__(chunk)
        self.head_dim = check_size("head_dim", head_dim)
        if features is None:
            features = max(1, math.ceil(head_dim * math.log(head_dim)))
        self.features = check_size("features", features)
        self.seed = check_size("seed", seed, 0)
        self._draw = head_dim, features, seed
        self.build_tables()

    def compute_tables(self) -> dict[str, Tensor]:
        """Return the random directions."""
        return {"projection": draw_directions(*self._draw)}

    def project(self, x: Queries) -> FeatureInputs:
        """Return the logarithms of the features, in float32 at least: they are exponents."""
        x = x.to(chunked_scan.accumulation_dtype(x.dtype)) * x.shape[-1] ** -0.25
        return x @ self.projection.to(x.dtype) - x.square().sum(-1, keepdim=True) / 2

    def feature_count(self, head_dim: int) -> int:
        """Return the number of features."""
        return self.features


def draw_directions(head_dim: int, features: int, seed: int) -> Float[Tensor, "D M"]:
    """Draw directions in orthogonal blocks, with the lengths of Gaussian vectors; in float64."""
    # On the CPU everywhere, for the same numbers.
    generator = torch.Generator().manual_seed(seed)
    blocks = []
    for _ in range(0, features, head_dim):
        drawn = torch.randn(2, head_dim, head_dim, generator=generator, dtype=torch.float64, device="cpu")
        basis, upper = torch.linalg.qr(drawn[0])
        # The signs of QR are LAPACK's choice; these make the basis unique and uniform.
        basis = basis * upper.diagonal().sign()
        blocks.append(basis * drawn[1].norm(dim=0))
    return torch.cat(blocks, 1)[:, :features].contiguous()
