"""Numbers follow from key and place, are even and independent, and are the same for parts of a batch."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from drum_crnn.training.random_numbers import keys_of, uniform, uniform_triples

MASK = 2**64 - 1


def split_mix(seed: int, n: int) -> list[int]:
    """SplitMix64 in Python's own integers, from the paper: the state grows by gamma, the output is mixed."""
    numbers = []
    for place in range(1, n + 1):
        x = (seed + place * 0x9E3779B97F4A7C15) & MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        numbers.append(x ^ (x >> 31))
    return numbers


# The first numbers of seed 1234567, as published with reference implementations of SplitMix64.
PUBLISHED = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]


def test_numbers_are_those_of_split_mix() -> None:
    assert split_mix(1234567, 5) == PUBLISHED
    key = np.array([1234567], np.uint64)
    assert [uniform(key, place)[0] for place in range(5)] == [(x >> 11) * 2.0**-53 for x in PUBLISHED]


@given(key=st.integers(0, MASK), place=st.integers(0, 10**6))
def test_triples_are_the_high_bits_of_the_same_numbers(key: int, place: int) -> None:
    keys = torch.from_numpy(np.array([key], np.uint64).view(np.int64))
    triples = uniform_triples(keys, place, n=3)
    for number in range(3):
        [x] = split_mix((key + (place + number) * 0x9E3779B97F4A7C15) & MASK, 1)
        for part, values in enumerate(triples):
            assert values[0, number] == np.float32((((x >> (1 + 21 * part)) & (2**21 - 1)) + 0.5) * 2.0**-21)


def test_a_part_of_a_batch_has_the_same_numbers() -> None:
    keys = torch.from_numpy(keys_of(1, 2, np.arange(5)).view(np.int64))
    whole, part = uniform_triples(keys, 10, n=100), uniform_triples(keys[3:], 10, n=100)
    for one, other in zip(whole, part, strict=True):
        assert torch.equal(one[3:], other)


def test_numbers_are_even_and_unrelated() -> None:
    keys = keys_of(0, np.arange(200))
    columns = [uniform(keys, place) for place in range(50)]
    assert stats.kstest(np.concatenate(columns), "uniform").pvalue > 1e-3
    first, second, third = (
        x.numpy().ravel() for x in uniform_triples(torch.from_numpy(keys.view(np.int64)), 0, n=2000)
    )
    for numbers in (first, second, third):
        assert stats.kstest(numbers, "uniform").pvalue > 1e-3
        assert 0.0 < numbers.min() < numbers.max() < 1.0
    for one, other in ((first, second), (first, third), (second, third), (first[1:], first[:-1])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.01  # 6 standard deviations


def test_keys_differ_where_one_part_does() -> None:
    keys = np.concatenate([keys_of(seed, epoch, np.arange(300)) for seed in range(5) for epoch in range(5)])
    assert len(set(keys.tolist())) == 5 * 5 * 300
    assert set(keys_of(1, 2).tolist()).isdisjoint(keys_of(2, 1).tolist())
