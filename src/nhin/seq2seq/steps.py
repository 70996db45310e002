"""What writes targets step by step: a network of torch, or an exported one. No torch."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nhin.data.pairs.batches import IdRows, TokenTable

NextLogits = NDArray[np.float32]
"""Rows x vocabulary."""


class StepModel(Protocol):
    """Writes a target for each row of sources, a token a step."""

    def start(self, source: IdRows) -> Any:
        """Encode sources and return the state before the first token."""
        ...

    def step(self, tokens: NDArray[np.int64], state: Any) -> tuple[NextLogits, Any]:
        """Append a token to each row; return the logits of the next, and the state after it."""
        ...


class SourceReader(Protocol):
    """A run, or its export: the task that it learned, its tables of tokens, and what writes."""

    @property
    def task(self) -> str:
        """The task of its recipe."""
        ...

    @property
    def tables(self) -> tuple[TokenTable, TokenTable]:
        """The tokens of sources and of targets."""
        ...

    @property
    def steps(self) -> StepModel:
        """The network."""
        ...
