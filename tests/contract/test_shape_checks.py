"""A wrong axis is refused wherever it comes: in a parameter, between two, and in an answer."""

import pytest
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from shape_checks import check
from torch import Tensor


@jaxtyped(typechecker=check)
def sum_rows(x: Float[Tensor, "B T"], y: Float[Tensor, "B"], axis: int = 1) -> Float[Tensor, "B"]:
    return x.sum(axis) + y.sum()


def test_only_what_has_the_axes_of_its_annotations_passes():
    x, y = torch.ones(2, 3), torch.ones(2)
    assert sum_rows(x, y).tolist() == [5.0, 5.0]
    for wrong in ((x[0], y), (x, torch.ones(3)), (x, y, "1"), (x.int(), y)):
        with pytest.raises(TypeCheckError, match="checking the parameters"):
            sum_rows(*wrong)
    with pytest.raises(TypeCheckError, match="checking the return value"):
        sum_rows(x, y, 0)
