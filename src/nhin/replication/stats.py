"""How far a count of successes may be from what it counts.

Source:  Wilson 1927; the interval for a proportion that Brown, Cai and DasGupta 2001 recommend.
"""

import math

Z95 = 1.959963984540054


def wilson(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """Return the interval of a proportion, in [0, 1]; 95% when z is not given."""
    share, fourth = successes / trials, z * z / trials
    centre = (share + fourth / 2) / (1 + fourth)
    half = z / (1 + fourth) * math.sqrt(share * (1 - share) / trials + fourth / (4 * trials))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def deviation(successes: int, trials: int, chance: float) -> float:
    """Return how many standard errors a count is from its chance; 0 where there is nothing to err."""
    error = math.sqrt(max(0.0, chance * (1 - chance)) / trials)
    difference = successes / trials - chance
    if error < 1e-9:
        return 0.0 if abs(difference) < 1e-9 else math.inf
    return difference / error
