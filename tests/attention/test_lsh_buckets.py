"""A bucket hangs on the direction of a vector and on the seed, and on nothing else."""

import torch

from nhin.attention.lsh import LSH


def test_neighbours_meet_more_often_than_strangers_and_more_rounds_miss_fewer():
    torch.manual_seed(0)
    x = torch.randn(1, 400, 1, 16)
    stranger = torch.randn_like(x)
    one, more = LSH(16, buckets=16, rounds=1), LSH(16, buckets=16, rounds=8)

    def meet(mechanism, y):
        return (mechanism.hashed(x) == mechanism.hashed(y)).any(0).float().mean()

    near = 0.95 * x + 0.05**0.5 * stranger
    assert meet(one, stranger) < 0.15 < 0.4 < meet(one, near) < meet(more, near)
    assert meet(more, near) > 0.95


def test_length_and_dtype_do_not_change_a_bucket_and_zeros_are_in_the_first():
    x = torch.randn(1, 50, 2, 6)
    mechanism = LSH(6)
    assert torch.equal(mechanism.hashed(x), mechanism.hashed(x * 7))
    assert torch.equal(mechanism.hashed(x), mechanism.hashed(x.double()))
    half = x.to(torch.bfloat16)
    assert torch.equal(mechanism.hashed(half), mechanism.hashed(half.float()))
    assert not mechanism.hashed(x * 0).any()
    for poison in (float("nan"), float("inf"), float("-inf")):
        assert not mechanism.hashed(x.index_fill(3, torch.tensor([2]), poison)).any()
    assert mechanism.hashed(x).unique().min() >= 0
    assert mechanism.hashed(x).unique().max() < 64


def test_opposite_vectors_are_in_opposite_buckets():
    x = torch.randn(1, 50, 2, 6)
    mechanism = LSH(6, buckets=8)
    assert torch.equal(mechanism.hashed(-x), (mechanism.hashed(x) + 4) % 8)


def test_a_bucket_does_not_hang_on_what_is_hashed_beside_it():
    x = torch.randn(2, 300, 2, 8, dtype=torch.float64)
    mechanism = LSH(8)
    alone = torch.cat([mechanism.hashed(x[:, i : i + 1]) for i in range(300)], 2)
    assert torch.equal(mechanism.hashed(x), alone)


def test_the_seed_alone_decides_and_casts_change_nothing():
    one, other = LSH(6, seed=7), LSH(6, seed=7)
    assert torch.equal(one.directions, other.to(torch.bfloat16).to(torch.float32).directions)
    assert one.directions.dtype == torch.float64
    assert not torch.equal(one.directions, LSH(6, seed=8).directions)
    x = torch.randn(1, 50, 2, 6)
    assert torch.equal(one.hashed(x), other.hashed(x))
    assert not torch.equal(one.hashed(x), LSH(6, seed=8).hashed(x))
