"""The definition, one repeat after the other: the reference of the two fast methods."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from nhin.studies.separation.outcomes import NETS, Values, attend, network_output, sum_outcomes
from nhin.studies.separation.regression.config import RegressionConfig
from nhin.studies.separation.regression.samples import RegressionSamples, draw_samples, unpack_signs


def iter_networks(
    config: RegressionConfig, samples: RegressionSamples
) -> Iterator[tuple[int, int, Values, NDArray[np.int8]]]:
    """Yield repeat, network, f and y."""
    for repeat, data in enumerate(samples.data):
        for net, name in enumerate(NETS):
            scores = data[0 if name.endswith("1") else 1] * config.log_n
            signs = samples.signs[repeat, net % samples.signs.shape[1]]
            yield repeat, net, attend(name[:3], scores), unpack_signs(signs, config.m)


def count_outcomes(
    config: RegressionConfig, repeats: int, seed: SeedSequence, drawn: int | None = None
) -> NDArray[np.int64]:
    """Count the outcomes of some repeats, (16,) by code; slow: see ``monte_carlo``.

    Of ``drawn`` columns the first m are used; no more are drawn when it is None.
    """

    def fires(samples: RegressionSamples) -> NDArray[np.bool_]:
        out = np.zeros((len(samples.data), len(NETS)), bool)
        for repeat, net, f, y in iter_networks(config, samples):
            out[repeat, net] = network_output(f @ y.astype(np.float64), config.tau) > 0
        return out

    return sum_outcomes(map(fires, draw_samples(replace(config, m=drawn or config.m), repeats, seed)))
