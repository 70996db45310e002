"""Mechanisms that are wrong on purpose are caught, each by the law that speaks of its fault."""

import laws  # noqa: F401  # enters the laws of answers into the table
import pytest
import state_laws  # noqa: F401  # and those of states
import torch
import torch.nn.functional as F
from cases import LAWS, Sizes
from einops import repeat

from nhin.attention.exact.naive import Naive
from nhin.attention.kv_cache import KVCache

CASES = [Sizes(), Sizes(t=3, s=7), Sizes(t=7, s=3), Sizes(b=3, t=1, s=6, groups=1, group_size=3)]


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


class MeasuresAgainstHiddenKeys(Naive):
    """Takes exponentials relative to the largest score of all keys, those that are hidden included."""

    def _weights_and_mask(self, q, k, causal, keep, rows):
        scores, mask = self._scores_and_mask(q, k, causal, keep, rows)
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        weights = weights if mask is None else weights.masked_fill(~mask, 0.0)
        total = weights.sum(-1, keepdim=True)
        return weights / total.masked_fill(total == 0, 1.0), mask


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


class ExplainsAnother(Naive):
    def explain(self, q, k, v, **ways):
        return super().explain(q, k, v * 2, **ways)


class ForgetsWhenCopied(Naive):
    def __deepcopy__(self, memo):
        return Unscaled()


class BranchesOnValues(Naive):
    def forward(self, q, k, v, *, causal=False, keep=None):
        out = super().forward(q, k, v, causal=causal, keep=keep)
        return out if q.abs().sum() >= 0 else out * 0


class DetachesItsQueries(Naive):
    """Passes gradients through by a formula of its own, which only plain backward passes know."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        q = q.detach() if torch._C._are_functorch_transforms_active() else q
        return super().forward(q, k, v, causal=causal, keep=keep)


class LosesItsTable(Naive):
    """Has a number that is neither a parameter nor saved nor computed again."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def forward(self, q, k, v, *, causal=False, keep=None):
        return super().forward(q, k, v, causal=causal, keep=keep) * self.scale


class OverflowsInHalf(Naive):
    """Is far off only where autocast has narrowed what it multiplies."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        out = super().forward(q, k, v, causal=causal, keep=keep)
        return out * 2 if out.dtype != q.dtype else out


class FeelsBeingKept(Naive):
    """Takes another road as soon as there is a mask, and comes out elsewhere."""

    def forward(self, q, k, v, *, causal=False, keep=None):
        out = super().forward(q, k, v, causal=causal, keep=keep)
        return out if keep is None else out * 1.01


class DriftsWhenCast(Naive):
    """Works its scale out anew, and a little differently, each time it is cast."""

    scale = 1.0

    def _apply(self, fn, recurse=True):
        self.scale *= 1.01
        return super()._apply(fn, recurse)

    def forward(self, q, k, v, *, causal=False, keep=None):
        return super().forward(q, k, v, causal=causal, keep=keep) * self.scale


class Remembers(Naive):
    """Decodes from the state its subclass gives."""

    State = KVCache

    def init_cache(self, spec):
        return self.State(spec, self)


class OneShort(Remembers):
    """The oldest place falls out of sight one step too early."""

    class State(KVCache):
        def _prefix(self, stop, dtype=None):
            return tuple(x[:, 1:] if x.shape[1] > 1 else x for x in super()._prefix(stop, dtype))


class SnapshotsByReference(Remembers):
    class State(KVCache):
        def snapshot(self):
            return {"lengths": self.lengths} | {
                n: x[:, :, : self.max_length] for n, x in self.tensors.items()
            }

        def restore(self, snapshot):
            self.lengths = snapshot["lengths"]
            for name, x in self.tensors.items():
                x[:, :, : self.max_length] = snapshot[name] * 0.5


class ReordersKeysOnly(Remembers):
    class State(KVCache):
        def reorder(self, rows):
            values = self.tensors["values"].clone()
            super().reorder(rows)
            self.tensors["values"].copy_(values)


class TakesPaddingForReal(Remembers):
    class State(KVCache):
        def prefill(self, q, k, v, *, lengths=None):
            return super().prefill(q, k, v)


class TruncatesOneTooFew(Remembers):
    class State(KVCache):
        def truncate(self, length):
            super().truncate(max(0, length - 1))


class WritesBeforeItLooks(Remembers):
    """Takes in what does not fit, then complains."""

    class State(KVCache):
        def _check(self, q, k, v, lengths):
            fits = k.shape[1:] == (k.shape[1], self.spec.kv_heads, self.spec.head_dim)
            if fits and self.max_length:
                self.tensors["keys"][:, :, 0] = 0
            super()._check(q, k, v, lengths)


FAULTS = {
    "shape_and_dtype_are_the_queries": [NarrowsTheAnswer],
    "equal_values_come_back_unchanged": [WeightsDoNotSumToOne],
    "key_order_does_not_matter": [KnowsPlaces],
    "hidden_keys_are_as_if_they_were_not_there": [IgnoresKeep, LeaksBackwards],
    "keys_that_are_all_kept_change_nothing": [FeelsBeingKept],
    "what_is_hidden_has_no_gradient": [LeaksBackwards],
    "a_causal_row_is_the_plain_answer_on_its_visible_prefix": [FromTheStart, SeesOneMore],
    "a_query_that_sees_nothing_gives_zeros_and_takes_no_gradient": [EmptyRowsAreMeans, LeaksBackwards],
    "what_a_hidden_key_holds_never_leaks": [HidesByMultiplying, IgnoresKeep],
    "what_a_later_key_holds_never_leaks": [LeaksLaterValues],
    "later_keys_of_any_size_leave_earlier_rows_alone": [MeasuresAgainstHiddenKeys],
    "exact_means_equal_to_the_formula_by_hand": [
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
    "the_answer_is_the_values_mixed_with_the_weights_shown": [ShowsOtherWeights, LeaksBackwards],
    "the_explanation_ends_in_the_answer": [ExplainsAnother],
    "a_copy_and_a_reloaded_state_answer_alike": [ForgetsWhenCopied],
    "built_without_numbers_and_loaded_it_answers_bit_for_bit": [LosesItsTable],
    "under_torch_func_it_answers_as_row_by_row": [BranchesOnValues, DetachesItsQueries],
    "a_change_of_dtype_and_back_keeps_the_answer": [DriftsWhenCast],
    "autocast_agrees_with_full_precision_roughly": [OverflowsInHalf],
    "all_at_once_in_chunks_and_step_by_step_are_one": [OneShort],
    "what_follows_a_snapshot_can_be_undone": [SnapshotsByReference],
    "after_reordering_each_row_goes_on_from_another": [ReordersKeysOnly],
    "rows_of_different_lengths_answer_as_if_alone": [TakesPaddingForReal, OneShort],
    "what_was_truncated_never_was": [TruncatesOneTooFew],
    "a_state_refuses_what_it_cannot_do_and_loses_nothing": [WritesBeforeItLooks],
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
            LAWS[law].holds(lambda n, dtype=torch.float64: fault().to(dtype), n)
        except (AssertionError, pytest.fail.Exception):
            broken += 1
    assert broken


@pytest.mark.parametrize("law", LAWS)
def test_the_same_cases_pass_without_the_fault(law):
    for n in CASES:
        LAWS[law].holds(lambda n, dtype=torch.float64: Naive().to(dtype), n)
