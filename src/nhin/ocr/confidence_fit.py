r"""Fit the map of confidences, and choose the floor of the mean probability, on labeled answers.

The map's four numbers :math:`\theta` minimize

.. math::
    -\sum_i w_i \left(y_i \ln q_i + (1 - y_i) \ln(1 - q_i)\right) +
    \tfrac12 \lVert \theta - \theta_0 \rVert^2, \qquad a, b \ge 0

where :math:`\theta_0` changes nothing: the penalty decides where there are few answers, or only right ones.

Cost:    some ten passes over the answers.
Source:  Kull, Silva Filho and Flach 2017, AISTATS, "Beta calibration"; there too a slope that comes out
         negative is set to 0, and the rest is fitted again.
Differs: the penalty; the term with the length.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from nhin.reading.confidence import ConfidenceMap, list_terms

_MAX_STEPS, _MAX_HALVINGS, _TOLERANCE = 100, 40, 1e-9
_SLOPES = 2

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FloorCost:
    """What a floor costs on one set of crops, an item of each array per crop.

    Args:
        probabilities: Mean probability of each text, 0 without text.
        edits: Edits between the text and the label.
        lengths: Characters of the label, which is what it costs to drop the text.
    """

    probabilities: Floats
    edits: Floats
    lengths: Floats

    def cer(self, floor: float = 0.0) -> float:
        """Return the character error rate where texts not above a floor are dropped."""
        edits = np.where(self.probabilities > floor, self.edits, self.lengths)
        return float(edits.sum()) / max(1.0, float(self.lengths.sum()))


def fit_confidence_map(p: Floats, lengths: Floats, right: Floats, weights: Floats) -> ConfidenceMap:
    """Fit the map of some answers.

    Args:
        p: Probabilities under the network, 0 to 1.
        lengths: Characters of each one's text.
        right: 1 for right answers, 0 for wrong ones.
        weights: How much each counts, 0 or more.
    """
    terms = list_terms(p, lengths)
    free = np.ones(terms.shape[1], bool)
    while True:
        values = _minimize(terms, right, weights, free)
        slope = int(values[:_SLOPES].argmin())
        if values[slope] >= 0:
            return ConfidenceMap(*values.tolist())
        free[slope] = False


def choose_floor(textless: Floats, costs: Iterable[FloorCost], max_cost: float) -> float:
    """Return the lowest floor that drops the most texts read from textless pictures, at bounded cost.

    Args:
        textless: Mean probability of the text read from each picture without text; 0 where there is none.
        costs: One per set of labeled crops.
        max_cost: How much the character error rate of any of these sets may rise.
    """
    allowed = [(cost, cost.cer() + max_cost) for cost in costs]
    for floor in np.unique(textless)[::-1].tolist():
        if all(cost.cer(floor) <= most for cost, most in allowed):
            return floor
    return 0.0


def _minimize(terms: Floats, right: Floats, weights: Floats, free: NDArray[np.bool_]) -> Floats:
    """Return the best numbers by Newton's method with halved steps; those not free are 0."""
    start = np.array(astuple(ConfidenceMap()))
    values = np.where(free, start, 0.0)
    used = terms[:, free]

    def measure_loss(values: Floats) -> float:
        logits = terms @ values
        losses = np.logaddexp(0.0, logits) - right * logits
        return float(weights @ losses + ((values - start) ** 2).sum() / 2)

    loss = measure_loss(values)
    for _ in range(_MAX_STEPS):
        q = np.exp(-np.logaddexp(0.0, -(terms @ values)))
        gradient = used.T @ (weights * (q - right)) + (values - start)[free]
        hessian = (used * (weights * q * (1 - q))[:, None]).T @ used + np.eye(used.shape[1])
        step = np.zeros_like(values)
        step[free] = np.linalg.solve(hessian, -gradient)
        for halving in range(_MAX_HALVINGS):
            shorter = values + step / 2**halving
            if (new := measure_loss(shorter)) < loss:
                break
        else:
            return values
        improvement, values, loss = loss - new, shorter, new
        if improvement < _TOLERANCE * max(1.0, loss):
            return values
    return values
