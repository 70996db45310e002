"""A bucket hangs on the direction of a vector and on the seed, and on nothing else."""

import torch

from nhin.attention.lsh.lsh import LSH


def test_neighbours_meet_more_often_than_strangers_and_more_rounds_miss_fewer():
    torch.manual_seed(0)
    x = torch.randn(1, 400, 1, 16)
    stranger = torch.randn_like(x)
    one, more = LSH(16, buckets=16, rounds=1), LSH(16, buckets=16, rounds=8)

    def meet(mechanism, y):
        return (mechanism.hash_buckets(x) == mechanism.hash_buckets(y)).any(0).float().mean()

    near = 0.95 * x + 0.05**0.5 * stranger
    assert meet(one, stranger) < 0.15 < 0.4 < meet(one, near) < meet(more, near)
    assert meet(more, near) > 0.95


def test_length_and_dtype_do_not_change_a_bucket_and_zeros_are_in_the_first():
    x = torch.randn(1, 50, 2, 6)
    mechanism = LSH(6)
    assert torch.equal(mechanism.hash_buckets(x), mechanism.hash_buckets(x * 7))
    assert torch.equal(mechanism.hash_buckets(x), mechanism.hash_buckets(x.double()))
    half = x.to(torch.bfloat16)
    assert torch.equal(mechanism.hash_buckets(half), mechanism.hash_buckets(half.float()))
    assert not mechanism.hash_buckets(x * 0).any()
    for poison in (float("nan"), float("inf"), float("-inf")):
        assert not mechanism.hash_buckets(x.index_fill(3, torch.tensor([2]), poison)).any()
    assert mechanism.hash_buckets(x).unique().min() >= 0
    assert mechanism.hash_buckets(x).unique().max() < 64


def test_opposite_vectors_are_in_opposite_buckets():
    x = torch.randn(1, 50, 2, 6)
    mechanism = LSH(6, buckets=8)
    assert torch.equal(mechanism.hash_buckets(-x), (mechanism.hash_buckets(x) + 4) % 8)


def test_a_bucket_does_not_hang_on_what_is_hashed_beside_it():
    x = torch.randn(2, 300, 2, 8, dtype=torch.float64)
    mechanism = LSH(8)
    alone = torch.cat([mechanism.hash_buckets(x[:, i : i + 1]) for i in range(300)], 2)
    assert torch.equal(mechanism.hash_buckets(x), alone)


def test_the_seed_alone_decides_and_casts_change_nothing():
    one, other = LSH(6, seed=7), LSH(6, seed=7)
    assert torch.equal(one.directions, other.to(torch.bfloat16).to(torch.float32).directions)
    assert one.directions.dtype == torch.float64
    assert not torch.equal(one.directions, LSH(6, seed=8).directions)
    x = torch.randn(1, 50, 2, 6)
    assert torch.equal(one.hash_buckets(x), other.hash_buckets(x))
    assert not torch.equal(one.hash_buckets(x), LSH(6, seed=8).hash_buckets(x))
