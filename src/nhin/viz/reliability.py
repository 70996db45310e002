r"""Reliability diagrams: the accuracy of answers over their confidence, and how many answers there are.

On the diagonal a confidence is the share of answers that are right.

Source:  Niculescu-Mizil and Caruana 2005, ICML, "Predicting good probabilities with supervised learning".
Differs: the area of a point is the share of the answers in its bin.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from nhin.metrics.calibration import Bin
from nhin.viz.plots import STYLE, make_axes

_COLORS = ("#999999", "#3b5b92", "#c1653a")
_AREA = 400.0


def plot_reliability(title: str, panels: Mapping[str, Mapping[str, Sequence[Bin]]]) -> Figure:
    """Draw one panel per set of answers, with one curve per name of its bins."""
    figure, axes = make_axes(title, len(panels), min(2, len(panels)))
    with mpl.rc_context(STYLE):
        for axis, (name, curves) in zip(axes, panels.items(), strict=True):
            axis.plot((0, 1), (0, 1), color="#bbbbbb", lw=0.8)
            for (label, bins), color in zip(curves.items(), _COLORS, strict=False):
                total = sum(each.count for each in bins) or 1
                x, y = [each.confidence for each in bins], [each.accuracy for each in bins]
                axis.plot(x, y, color=color, lw=1.1, label=label)
                axis.scatter(
                    x, y, [_AREA * each.count / total for each in bins], color=color, alpha=0.5, lw=0
                )
            axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="confidence", ylabel="share right")
            axis.set_aspect("equal")
            axis.set_title(name.replace("$", r"\$"), fontsize=8)
            axis.legend(frameon=False, fontsize=7, loc="upper left")
    return figure
