"""A stream in blocks against the same sound at once: the parts join, and nothing is lost or doubled between them."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from builders import RATE, clicks, exported, noise, small_features
from hypothesis import given, settings
from hypothesis import strategies as st

from drum_crnn.engine.live import LiveActivations
from drum_crnn.model.activations import Activations
from drum_crnn.transcribe import Transcriber

FEATURES = small_features()
HOP = FEATURES.hop_length


def ramp(blocks: Iterable[np.ndarray]) -> Iterator[Activations]:
    """In place of a network: what a frame says is its own first sample, so that it shows where it came from."""
    [samples] = blocks
    firsts = np.repeat(samples[::HOP, None], 8, axis=1)
    yield Activations(firsts, firsts)


@settings(deadline=None)
@given(
    n_samples=st.integers(0, 40 * HOP),
    cuts=st.lists(st.integers(0, 40 * HOP), max_size=6),
    lookahead=st.integers(0, 5),
    step=st.integers(1, 5),
)
def test_each_frame_comes_once_and_in_order(n_samples: int, cuts: list[int], lookahead: int, step: int) -> None:
    live = LiveActivations(ramp, FEATURES, window_frames=10, lookahead_frames=lookahead, step_frames=step)
    numbers = np.arange(n_samples, dtype=np.float32)
    fed = 0
    parts = []
    for block in np.split(numbers, sorted(min(cut, n_samples) for cut in cuts)):
        parts.append(live.feed(block))
        fed += len(block)
        n_known = sum(len(part.onset) for part in parts)
        # All that has been followed by the lookahead is known, but for a step; and nothing before.
        assert fed // HOP - lookahead - step < n_known or n_known == 0
        assert n_known <= max(0, fed // HOP - lookahead)
    found = Activations.concatenate([*parts, live.finish()])
    np.testing.assert_array_equal(found.onset[:, 0], numbers[::HOP])


def test_a_window_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="a window of 10 frames cannot hold a step of 6 and 5 after it"):
        LiveActivations(ramp, FEATURES, window_frames=10, lookahead_frames=5, step_frames=6)


@pytest.fixture(scope="module")
def transcriber(tmp_path_factory: pytest.TempPathFactory) -> Transcriber:
    return Transcriber.load(exported(tmp_path_factory.mktemp("model") / "model.safetensors"))


def blocks_of(audio: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(audio), size):
        yield audio[start : start + size]


@pytest.mark.parametrize("size", [777, 44_100, 10**9])
def test_parts_of_a_stream_are_its_onsets(transcriber: Transcriber, size: int) -> None:
    """Whatever the blocks: peaks at the seams are found once."""
    audio = noise(9 * RATE)
    parts = list(transcriber.listen(blocks_of(audio, size), RATE))
    once = list(transcriber.listen(blocks_of(audio, 5000), RATE))
    rows, expected = ([row for part in found for row in part.rows()] for found in (parts, once))
    assert len(rows) > 50
    assert [row[1:] for row in rows] == [row[1:] for row in expected]
    np.testing.assert_allclose([row[0] for row in rows], [row[0] for row in expected], rtol=1e-12)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert parts[-1].duration_s == pytest.approx(9.0, abs=0.02)
    for part, following in itertools.pairwise(parts):
        assert part.time_s.max(initial=0) <= part.duration_s + 0.005 <= following.duration_s + 0.01
        assert following.time_s.min(initial=np.inf) >= part.duration_s - 0.006


def test_a_short_stream_is_what_the_file_is(transcriber: Transcriber) -> None:
    """Shorter than lookahead and step: one window, as for a file."""
    audio = noise(RATE // 4)
    rows = [row for part in transcriber.listen([audio], RATE) for row in part.rows()]
    expected = list(transcriber.transcribe(audio, RATE).rows())
    assert len(rows) > 2
    assert [row[1:] for row in rows] == [row[1:] for row in expected]
    np.testing.assert_allclose([row[0] for row in rows], [row[0] for row in expected], rtol=1e-12)


def test_nothing_gives_nothing(transcriber: Transcriber) -> None:
    assert [len(part) for part in transcriber.listen([], RATE)] == [0]


def test_the_released_model_hears_a_stream_in_time() -> None:
    """Clicks in stereo at another rate; each onset is known less than a second after its stroke was fed."""
    rate = 48_000
    audio = clicks([1.0, 2.5, 4.0, 6.2, 8.1], 10.0, rate=rate)
    fed = 0

    def stream() -> Iterator[np.ndarray]:
        nonlocal fed
        for block in blocks_of(np.stack([audio, audio], axis=1), 2400):
            fed += len(block)
            yield block

    for part in Transcriber.load().listen(stream(), rate):
        for time_s in part.time_s:
            assert fed / rate - time_s < 0.85 or fed == len(audio)
