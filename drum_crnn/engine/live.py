"""Activations of a stream while it goes on: each frame's are final a fixed time after it was heard."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from drum_crnn.model.activations import Activations
from drum_crnn.music.log_mel import FeatureParams

__all__ = ["LiveActivations"]

FloatArray = NDArray[np.float32]


class LiveActivations:
    """Computes the network anew on the latest window of a stream, every few frames.

    A frame's activations are taken from the first window that holds `lookahead_frames` after it, since the network
    looks both ways. What comes `lookahead_frames + step_frames` after a stroke at the latest is final.

    Parameters
    ----------
    compute : callable
        An engine's `activations`: from blocks of samples to activations of all their frames.
    window_frames, lookahead_frames, step_frames : int
        Frames that the network gets each time, frames that it must know after one, and frames from window to window.
        `lookahead_frames + step_frames` are at most `window_frames`.
    """

    def __init__(
        self,
        compute: Callable[[Iterable[FloatArray]], Iterator[Activations]],
        features: FeatureParams,
        *,
        window_frames: int,
        lookahead_frames: int,
        step_frames: int,
    ) -> None:
        if step_frames < 1 or lookahead_frames < 0 or lookahead_frames + step_frames > window_frames:
            raise ValueError(
                f"a window of {window_frames} frames cannot hold a step of {step_frames} and "
                f"{lookahead_frames} after it"
            )
        self._compute, self._hop = compute, features.hop_length
        self._window, self._lookahead, self._step = window_frames, lookahead_frames, step_frames
        self._samples = np.zeros(0, np.float32)
        self._first = 0  # the frame at the start of `_samples`
        self._n_done = 0  # frames whose activations are final

    def of(self, blocks: Iterable[FloatArray]) -> Iterator[Activations]:
        """The activations of a whole stream of blocks, as `feed` and, at its end, `finish` give them."""
        for block in blocks:
            yield self.feed(block)
        yield self.finish()

    def feed(self, samples: FloatArray) -> Activations:
        """Add mono samples at the model's rate; returns the activations of the frames that have become final."""
        self._samples = np.concatenate([self._samples, samples])
        parts: list[Activations] = []
        while True:
            end = self._n_done + self._step + self._lookahead  # the frame after the next window
            if len(self._samples) < (end - self._first) * self._hop:
                return Activations.concatenate(parts)
            parts.append(self._final(end, self._n_done + self._step))

    def finish(self) -> Activations:
        """The activations of the frames that are left, after the end of the stream."""
        n_frames = self._first + -(-len(self._samples) // self._hop)
        parts: list[Activations] = []
        while self._n_done < n_frames:
            end = min(n_frames, self._n_done + self._step + self._lookahead)
            parts.append(self._final(end, n_frames if end == n_frames else self._n_done + self._step))
        return Activations.concatenate(parts)

    def _final(self, end: int, upto: int) -> Activations:
        """Compute the window before frame `end`; returns the activations from the last final frame to frame `upto`."""
        start = max(0, end - self._window)
        self._samples = self._samples[(start - self._first) * self._hop :]
        self._first = start
        found = Activations.concatenate(self._compute([self._samples[: (end - start) * self._hop]]))
        kept = slice(self._n_done - start, upto - start)
        self._n_done = upto
        return Activations(found.onset[kept], found.velocity[kept])
