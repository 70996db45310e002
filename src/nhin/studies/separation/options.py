"""The choices that the paper leaves open: every one has a name and is recorded in the manifest."""

from dataclasses import dataclass
from typing import Annotated, Literal

from nhin.config import check_fields
from nhin.ranges import Range

Inner = Literal["eye", "ones"]
Kind = Literal["self", "c1", "c1perm", "c2", "c3", "c4"]
CrossDef = Literal["c1", "c1perm", "c2", "c3", "c4"]
Weights = Literal["shared", "independent"]
Rounding = Literal["ceil", "floor"]
Method = Literal["exact", "mc", "dense"]

RECONSTRUCTION = "cross-attention is nhin's reconstruction, not the paper's text"
INNER_TITLES = {"": "", "eye": "vec(I)", "ones": "1"}
KINDS = {
    "self": "queries and keys are one matrix",
    "c1": "queries and keys have spikes in independent rows",
    "c1perm": "as c1, and the queries have their classes in another order",
    "c2": "the queries have no spike",
    "c3": "every query has the spike",
    "c4": "the spike of the queries is 1, whatever that of the keys",
}


@dataclass(frozen=True, slots=True)
class Variant:
    """A choice for everything that the paper leaves open; see ``AMBIGUITIES``."""

    tau: Annotated[float, Range(0, 1)] = 0.25  # threshold of the regression
    margin: Annotated[float, Range(0, 1e3)] = 0.1  # the threshold of attention is (c + margin) sqrt(ln n)
    rounding: Rounding = "ceil"  # how m = log n becomes a whole number
    tied: bool = False  # b is 1 - c, not .2
    weights: Weights = "shared"  # whether the four networks share y
    cross: CrossDef = "c1"  # the definition of cross-attention
    independent: bool = False  # every point of the sweep over m of the regression has draws of its own

    def __post_init__(self) -> None:
        check_fields(self)


# (what is open or wrong in the document, what is done here), in the order of the document.
AMBIGUITIES: tuple[tuple[str, str], ...] = (
    ("the distribution of the data of Def. 3.2: only the interval [1, 1.4] is given", "uniform, independent"),
    ("whether D0 and D1 of one repeat share their data", "independent draws of one distribution"),
    ("tau of the regression is never given", "1/4, the only number the lemmas name; --tau"),
    ("m = log n is not rounded", "ceil of the natural logarithm; --m-rule floor"),
    ("the base of logarithms", "natural: exp(a ln n) = n^a, which all proofs use"),
    ("the sweep over m of the regression: one draw or many", "one draw of 100 columns; --independent"),
    ('Def. 3.6 says "F_exp" with f_lin; Lemma 5.1 "F_lin" with f_exp; "l = 0..m"', "F_lin; F_exp; l = 1..m"),
    (
        'Theorem 6.2 pairs "F_exp > 0, F_exp = 0" and "F_lin = 0, F_lin = 0"',
        "D1: F_exp > 0 and F_lin = 0; D0: F_exp = 0 and F_lin = 0",
    ),
    ('"m <= delta/poly(n)"', "a union bound over m <= poly(n)"),
    ("Lemma 4.2.1: C sqrt(log(n/delta))/n", "sqrt(log(n/delta)/n): Hoeffding on entries of at most 4/n"),
    ("Def. C.6: y in R^{n x m}", "R^{d x m}, as in Def. C.2"),
    ('the heading "X = 1_{n^2}"', "all ones, d x d"),
    ("Eq. (1): D in R^{d x d}; Kronecker index (j1 - i) d2", "n x n; (j1 - 1) d2"),
    ("the sweep over a0 lists a0 = .01 as fixed too; that over c omits a0", "the swept value wins; a0 = .01"),
    (
        "the sweep over c fixes b = .2 while Def. 6.1 says b + c = 1",
        "b = .2 as written; --tie-b takes 1 - c, and the curves differ radically",
    ),
    ("whether the four networks share y", "shared; --weights independent draws one for each"),
    ("whether F > 0 is strict", "strict, beyond a guard of 1e-12 sqrt(ln n), in float64"),
    ('the sweep over a1: .1 to 3, "step 0.036", 81 points', "linspace(.1, 3, 81), a step of .03625"),
    (
        "the matrices of cross-attention: the appendix was not available",
        "a reconstruction, C1: both matrices of Def. 6.1, spikes in independent rows, A3 = A2; --cross-def",
    ),
)
