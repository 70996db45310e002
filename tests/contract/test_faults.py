"""Mechanisms that are wrong on purpose are caught, each by the law that speaks of its fault."""

import pytest
import torch
import torch.nn.functional as F
from einops import repeat
from laws import LAWS, Sizes

from nhin.attention.naive import Naive

CASES = [Sizes(), Sizes(t=3, s=7), Sizes(t=7, s=3), Sizes(b=3, t=1, s=6, groups=1, each=3)]


class FromTheStart(Naive):
    """Causal as in PyTorch: query t sees keys up to t, however many keys there are."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        t, s = q.shape[1], k.shape[1]
        if not causal or t == s:
            return super().forward(q, k, v, causal=causal, keep=keep)
        rows = [
            super(FromTheStart, self).forward(q[:, i : i + 1], k[:, : i + 1], v[:, : i + 1]) for i in range(t)
        ]
        return torch.cat(rows, 1)


class SeesOneMore(Naive):
    """Every query also sees the key after its own."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        if causal:
            k, v = (F.pad(x[:, 1:], (0, 0, 0, 0, 0, 1)) for x in (k, v))
        return super().forward(q, k, v, causal=causal, keep=keep)


class IgnoresKeep(Naive):
    def forward(self, q, k, v, *, causal=False, keep=None):
        return super().forward(q, k, v, causal=causal)


class HidesByMultiplying(Naive):
    """Zeroes hidden values by a product, so NaN stays NaN."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        if keep is not None:
            v = v * keep[:, :, None, None]
        return super().forward(q, k, v, causal=causal, keep=keep) + 0 * v.sum()


class LeaksBackwards(Naive):
    """Hides well going forward, but lets a hidden key's gradient through."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        out = super().forward(q, k, v, causal=causal, keep=keep)
        return out + (v.sum() - v.sum().detach())


class LeaksLaterValues(Naive):
    """PyTorch's own causal kernel: weight zero times NaN is NaN."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        if not causal or q.shape[1] != k.shape[1]:
            return super().forward(q, k, v, causal=causal, keep=keep)
        each = q.shape[2] // k.shape[2]
        k, v = (repeat(x, "b s g d -> b s (g each) d", each=each) for x in (k, v))
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


class EmptyRowsAreMeans(Naive):
    """ONNX's habit: a query that may see nothing gets the mean of the values."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        out = super().forward(q, k, v, causal=causal, keep=keep)
        return out if keep is None else torch.where(keep.any(-1)[:, None, None, None], out, v.mean())


class GroupsInterleaved(Naive):
    """Query head h looks at key head h modulo G, not h divided by the group's size."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        k, v = (repeat(x, "b s g d -> b s (each g) d", each=q.shape[2] // k.shape[2]) for x in (k, v))
        return super().forward(q, k, v, causal=causal, keep=keep)


class GroupsSummedByMean(Naive):
    """The group's queries share one gradient by mean instead of sum."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        each = q.shape[2] // k.shape[2]
        k = k / each + k.detach() * (1 - 1 / each)
        return super().forward(q, k, v, causal=causal, keep=keep)


class Unscaled(Naive):
    def forward(self, q, k, v, *, causal=False, keep=None):
        return super().forward(q * q.shape[-1] ** 0.5, k, v, causal=causal, keep=keep)


class WeightsDoNotSumToOne(Naive):
    def forward(self, q, k, v, *, causal=False, keep=None):
        return super().forward(q, k, v, causal=causal, keep=keep) * 1.01


class KnowsPlaces(Naive):
    def forward(self, q, k, v, *, causal=False, keep=None):
        places = torch.arange(k.shape[1], dtype=k.dtype)[:, None, None]
        return super().forward(q, k + places, v, causal=causal, keep=keep)


class MixesTheBatch(Naive):
    def forward(self, q, k, v, *, causal=False, keep=None):
        if q.shape[0]:
            k = k - k.mean(0, keepdim=True) * 0.1
        return super().forward(q, k, v, causal=causal, keep=keep)


class RoundsTwice(Naive):
    """Works in eight bits less than it was given."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        q, k, v = (x.to(torch.float8_e5m2).to(x.dtype) for x in (q, k, v))
        return super().forward(q, k, v, causal=causal, keep=keep)


class NarrowsTheAnswer(Naive):
    def forward(self, q, k, v, *, causal=False, keep=None):
        return super().forward(q, k, v, causal=causal, keep=keep).float()


class CannotBeEmpty(Naive):
    """Divides by a sum over keys that may be none."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        return super().forward(q, k, v, causal=causal, keep=keep) + 0 * v.mean()


class RemembersALength(Naive):
    """Builds its table at the first call and keeps it."""

    last = None

    def forward(self, q, k, v, *, causal=False, keep=None):
        self.last = self.last or k.shape[1]
        return super().forward(q, k[:, : self.last], v[:, : self.last], causal=causal, keep=keep)


class ShowsOtherWeights(Naive):
    def weights(self, q, k, **ways):
        return super().weights(q * 2, k, **ways)


class ForgetsWhenCopied(Naive):
    def __deepcopy__(self, memo):
        return Unscaled()


class OverflowsInHalf(Naive):
    """Is far off only where autocast has narrowed what it multiplies."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        out = super().forward(q, k, v, causal=causal, keep=keep)
        return out * 2 if out.dtype != q.dtype else out


FAULTS = {
    "shape_and_dtype_are_the_queries": [NarrowsTheAnswer],
    "equal_values_come_back_unchanged": [WeightsDoNotSumToOne],
    "key_order_does_not_matter": [KnowsPlaces],
    "hidden_keys_are_hidden": [IgnoresKeep, LeaksBackwards],
    "a_causal_row_is_the_plain_answer_on_its_visible_prefix": [FromTheStart, SeesOneMore],
    "a_query_that_sees_nothing_gives_zeros_and_takes_no_gradient": [EmptyRowsAreMeans, LeaksBackwards],
    "what_a_hidden_key_holds_never_leaks": [HidesByMultiplying, IgnoresKeep],
    "what_a_later_key_holds_never_leaks": [LeaksLaterValues],
    "float64_agrees_with_the_formula_by_hand": [
        Unscaled,
        FromTheStart,
        EmptyRowsAreMeans,
        GroupsInterleaved,
        GroupsSummedByMean,
    ],
    "half_precision_errs_at_most_twice_as_much_as_a_plain_computation": [RoundsTwice],
    "grouped_heads_are_repeated_heads": [GroupsInterleaved, GroupsSummedByMean],
    "batch_rows_are_independent": [MixesTheBatch],
    "nothing_in_gives_nothing_or_zeros_out": [CannotBeEmpty],
    "any_length_may_follow_any_other": [RemembersALength],
    "the_weights_shown_are_the_weights_used": [ShowsOtherWeights],
    "a_copy_and_a_reloaded_state_answer_alike": [ForgetsWhenCopied],
    "autocast_agrees_with_full_precision_roughly": [OverflowsInHalf],
}


def test_every_law_has_a_fault_that_breaks_it():
    assert FAULTS.keys() == LAWS.keys()


@pytest.mark.parametrize(
    ("law", "fault"), [(law, fault) for law, faults in FAULTS.items() for fault in faults]
)
def test_the_fault_is_caught(law, fault):
    broken = 0
    for n in CASES:
        try:
            LAWS[law].holds(fault, n)
        except AssertionError:
            broken += 1
    assert broken


@pytest.mark.parametrize("law", LAWS)
def test_the_same_cases_pass_without_the_fault(law):
    for n in CASES:
        LAWS[law].holds(Naive, n)
