"""Seconds and frames: conversion there and back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from drum_crnn.music.timing import frame_to_time, n_frames_of, time_to_frame

RATES = st.sampled_from([100.0, 86.1328125, 1.0, 44_100 / 512])


@given(time_s=st.floats(0.0, 36_000.0), frame_rate=RATES)
def test_a_time_comes_back_within_half_a_hop(time_s: float, frame_rate: float) -> None:
    back = frame_to_time(time_to_frame(time_s, frame_rate), frame_rate)
    assert abs(float(back) - time_s) <= 0.5 / frame_rate * (1 + 1e-9)


@given(frame=st.integers(0, 10**9), frame_rate=RATES)
def test_a_frame_comes_back_as_it_was(frame: int, frame_rate: float) -> None:
    assert int(time_to_frame(frame_to_time(frame, frame_rate), frame_rate)) == frame


@given(n_samples=st.integers(0, 10**7), hop_length=st.integers(1, 4096))
def test_frames_are_those_centred_on_a_sample_of_the_signal(n_samples: int, hop_length: int) -> None:
    n_frames = n_frames_of(n_samples, hop_length)
    assert n_frames * hop_length >= n_samples  # one more would lie beyond the last sample
    assert n_frames == 0 or (n_frames - 1) * hop_length <= n_samples - 1


def test_a_second_is_a_hundred_frames() -> None:
    times = np.array([0.0, 0.0049, 0.0051, 1.0, 444 * 3600.0])
    frames = time_to_frame(times, 100.0)
    assert frames.dtype == np.int64
    assert frames.tolist() == [0, 0, 1, 100, 159_840_000]
    assert frame_to_time(frames, 100.0).tolist() == [0.0, 0.0, 0.01, 1.0, 1_598_400.0]
    assert [n_frames_of(n, 441) for n in (-1, 0, 1, 441, 442, 44_100, 44_101)] == [0, 0, 1, 1, 2, 100, 101]
