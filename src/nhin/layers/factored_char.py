"""A linear layer and an embedding over characters that share weights between Vietnamese letters.

The weight of a character is the sum of the weights of its parts (base letter, case, mark, tone) and one of
its own, so a rare letter such as Ẵ starts from what A, the breve and the tilde have already learned.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nhin.attention.tables import ComputedTables
from nhin.text.charset import SPECIALS, Charset
from nhin.text.letters import factor


def build_factor_matrix(charset: Charset) -> Float[Tensor, "V parts"]:
    """Return the parts of each id: one row per id, 1 where the part is present."""
    names: dict[str, int] = {}
    rows = [[] for _ in SPECIALS]
    for char in charset.chars:
        pieces = factor(char)
        parts = [f"base {pieces.base.lower()}", f"mark {pieces.mark}", f"tone {pieces.tone}"]
        parts.append("upper" if pieces.base.isupper() else "lower" if pieces.base.islower() else "sign")
        rows.append([names.setdefault(name, len(names)) for name in parts])
    table = torch.zeros(len(charset), len(names))
    for i, row in enumerate(rows):
        table[i, row] = 1.0
    return table


class FactoredCharLinear(ComputedTables):
    """A linear layer whose weight of an id is the sum of those of its parts and its own.

    Differs: the factors are summed into one weight; no separate softmax over marks or tones.
    """

    parts: Tensor

    def __init__(self, charset: Charset, dim: int, *, bias: bool = True) -> None:
        super().__init__()
        self._charset = charset
        self.build_tables()
        self.own = nn.Parameter(torch.randn(len(charset), dim) * 0.02)
        self.shared = nn.Parameter(torch.randn(self.parts.shape[1], dim) * 0.02)
        self.bias = nn.Parameter(torch.zeros(len(charset))) if bias else None

    def compute_tables(self) -> dict[str, Tensor]:
        """Return the parts of every id."""
        return {"parts": build_factor_matrix(self._charset)}

    def weight(self) -> Float[Tensor, "V C"]:
        """Return the weights of all ids."""
        return self.own + self.parts.to(self.shared.dtype) @ self.shared

    def forward(self, x: Float[Tensor, "*rest C"]) -> Float[Tensor, "*rest V"]:
        """Return the logits of every id."""
        return F.linear(x, self.weight(), self.bias)


class FactoredCharEmbedding(FactoredCharLinear):
    """An embedding with the same factored weights."""

    def __init__(self, charset: Charset, dim: int) -> None:
        super().__init__(charset, dim, bias=False)

    def forward(self, ids: Tensor) -> Float[Tensor, "*rest C"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return one vector per id."""
        return F.embedding(ids, self.weight())
