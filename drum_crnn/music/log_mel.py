"""Log-mel spectrograms in decibels.

A frame is centred on its time: frame n covers the `n_fft` samples around sample `n * hop_length`; the signal continues
with zeros at both ends. The window is scaled so that a full-scale sine has 0 dB in its FFT bin, whatever `n_fft`. A
band sums its weighted bins, and shows that sine at 0 ± 2 dB. No value is below `floor_db`.
"""

import importlib.machinery
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field, model_validator

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.params import ParamsSection
from drum_crnn.music.timing import n_frames_of

__all__ = ["FeatureParams", "LogMel", "Span", "load_rfft"]

FloatArray = NDArray[np.float32]

# Frames are always computed in groups of this size, aligned to the start of the recording and padded at its end. So the
# bits of a frame depend on the recording alone, not on the blocks in which it was decoded. A group fits the L2 cache.
_GROUP = 64

# Frames of a span in `LogMel.stream`: about ten seconds.
_SPAN = 16 * _GROUP

# Bands are computed in this many groups, each from the bins of nonzero weight. Together, these are a seventh of the
# filter bank.
_BAND_GROUPS = 6


class FeatureParams(ParamsSection):
    """Section `features`: what one frame is, and how frames are stored."""

    section: ClassVar[str] = "features"

    sample_rate: int = Field(gt=0)
    hop_length: int = Field(gt=0)
    n_fft: int = Field(gt=0)
    n_mels: int = Field(gt=0)
    fmin: float = Field(ge=0)
    fmax: float = Field(gt=0)
    floor_db: float = Field(ge=-120, lt=0)  # lower, and 255 steps would not reach 6 dB
    n_shards: int = Field(gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.fmin < self.fmax <= self.sample_rate / 2:
            raise ValueError(f"fmin < fmax <= sample_rate / 2 = {self.sample_rate / 2:g} Hz must hold")
        if self.hop_length > self.n_fft:
            raise ValueError("hop_length must not exceed n_fft, or the samples between frames are lost")
        return self

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_length


class Span(NamedTuple):
    """A piece of a recording, and the number of frames to compute from it.

    `samples` begins half a frame before the first frame's centre, and covers whole groups of frames.
    """

    samples: FloatArray
    n_frames: int
    is_first: bool
    is_last: bool


class LogMel:
    """Computes log-mel frames; holds the window and the filter bank. Several threads may use one.

    Frames are computed in groups of `GROUP`.

    Raises
    ------
    DrumCrnnError
        If there are more bands than an FFT of this length can resolve.

    See Also
    --------
    librosa.filters.mel : the same filter bank, bit by bit (half a second to import).
    """

    GROUP: ClassVar[int] = _GROUP

    def __init__(self, params: FeatureParams) -> None:
        self.params = params
        window = _hann(params.n_fft).astype(np.float32)
        self._window = window * np.float32(2.0 / window.sum())
        filters = _mel_filters(params)
        n_empty = int((filters.max(axis=1) <= 0).sum())
        if n_empty:
            raise DrumCrnnError(
                f"features.n_mels: {params.n_mels} bands from {params.fmin:g} to {params.fmax:g} Hz are too many for "
                f"features.n_fft {params.n_fft}: {n_empty} of them hold no FFT bin; choose fewer, or a larger n_fft"
            )
        self._groups = _grouped(filters.T)

    def __call__(self, audio: FloatArray) -> FloatArray:
        """Frames of a whole recording.

        Parameters
        ----------
        audio : float32 array, shape (n_samples,)

        Returns
        -------
        float32 array, shape (n_frames, n_mels)
            Decibels in [floor_db, about 6].
        """
        parts = list(self.stream([audio]))
        return np.concatenate(parts) if parts else np.zeros((0, self.params.n_mels), np.float32)

    def stream(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """Frames of a recording that arrives in blocks of any size; the result does not depend on the sizes.

        Yields
        ------
        float32 array, shape (n_frames, n_mels)
            Concatenated: the same bits as `self(np.concatenate(blocks))`.
        """
        for span in self.spans(blocks, n_frames=_SPAN):
            yield self.frames(span)

    def spans(self, blocks: Iterable[FloatArray], *, n_frames: int, overlap: int = 0) -> Iterator["Span"]:
        """Cut a recording into spans, whose frames can be computed in any order, or at the same time.

        Parameters
        ----------
        blocks : iterable of float32 arrays, shape (n_samples,)
            The recording, in blocks of any size.
        n_frames : int
            Number of frames in each span but the last, which has fewer or as many.
        overlap : int
            Number of frames that two neighbouring spans both hold.

        Yields
        ------
        Span
            In order; none if the recording is empty.

        Raises
        ------
        ValueError
            If spans do not begin at whole groups of frames, which decide about the last bits.
        """
        step = n_frames - overlap
        if step <= 0 or step % _GROUP:
            raise ValueError(f"n_frames - overlap should be a multiple of {_GROUP}, not {step}")
        hop, half = self.params.hop_length, self.params.n_fft // 2
        # From this on the frame after a span exists: only then it is not the last one.
        needed = half + n_frames * hop + 1
        whole = (_whole_groups(n_frames) - 1) * hop + self.params.n_fft
        waiting: list[FloatArray] = [np.zeros(half, np.float32)]  # the zeros before the first sample
        n_waiting, n_samples, first = half, 0, 0
        for block in blocks:
            waiting.append(block)
            n_waiting += len(block)
            n_samples += len(block)
            if n_waiting < max(needed, whole):
                continue
            buffer = np.concatenate(waiting)
            while len(buffer) >= max(needed, whole):
                yield Span(buffer[:whole], n_frames, is_first=first == 0, is_last=False)
                buffer, first = buffer[step * hop :], first + step
            waiting, n_waiting = [buffer], len(buffer)
        buffer, n_left = np.concatenate(waiting), n_frames_of(n_samples, hop) - first
        while n_left > 0:
            size = min(n_left, n_frames)
            padded = np.zeros((_whole_groups(size) - 1) * hop + self.params.n_fft, np.float32)
            padded[: min(len(buffer), len(padded))] = buffer[: len(padded)]
            yield Span(padded, size, is_first=first == 0, is_last=n_left <= n_frames)
            if n_left <= n_frames:
                break
            buffer, first, n_left = buffer[step * hop :], first + step, n_left - step

    def frames(self, span: "Span") -> FloatArray:
        """The frames of a span: float32 array, shape (span.n_frames, n_mels)."""
        windows = sliding_window_view(span.samples, self.params.n_fft)[:: self.params.hop_length]
        groups = [self._group(windows[first : first + _GROUP]) for first in range(0, span.n_frames, _GROUP)]
        return (groups[0] if len(groups) == 1 else np.concatenate(groups))[: span.n_frames]

    def _group(self, windows: FloatArray) -> FloatArray:
        spectrum = _rfft(windows * self._window)
        # Real and imaginary parts alternate. The filters hold every bin twice, so they add up the squares of both.
        squares = spectrum.view(np.float32)
        np.square(squares, out=squares)
        bands = np.empty((len(squares), self.params.n_mels), np.float32)
        for parts, mels, filters in self._groups:
            np.matmul(squares[:, parts], filters, out=bands[:, mels])
        np.maximum(bands, np.float32(10.0 ** (self.params.floor_db / 10.0)), out=bands)
        np.log10(bands, out=bands)
        bands *= np.float32(10.0)
        return bands


def load_rfft() -> Callable[[FloatArray], NDArray[np.complex64]]:
    """`scipy.fft.rfft` of rows, without the rest of that package, which takes a fifth of a second to import.

    What computes is an extension module that needs nothing of SciPy. Where it is not found, the package is imported.
    """
    package = importlib.util.find_spec("scipy")
    folders = [] if package is None else package.submodule_search_locations or []
    for folder in folders:
        finder = importlib.machinery.FileFinder(
            str(Path(folder, "fft", "_pocketfft")),
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
        )
        spec = finder.find_spec("pypocketfft")
        if spec is not None and spec.loader is not None:
            try:
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                r2c = module.r2c
            except (ImportError, AttributeError):  # another SciPy
                continue
            return lambda rows: r2c(rows, (-1,), True, 0, None, 1)
    import scipy.fft

    rfft: Callable[[FloatArray], NDArray[np.complex64]] = scipy.fft.rfft
    return rfft


_rfft = load_rfft()


def _whole_groups(n_frames: int) -> int:
    """The number of frames, rounded up to whole groups."""
    return -(-n_frames // _GROUP) * _GROUP


def _hann(n_samples: int) -> NDArray[np.float64]:
    """The periodic Hann window."""
    window: NDArray[np.float64] = 0.5 + 0.5 * np.cos(np.linspace(-np.pi, np.pi, n_samples + 1)[:-1])
    return window


def _mel_filters(params: FeatureParams) -> FloatArray:
    """Triangular filters of peak 1, float32, shape (n_mels, n_fft // 2 + 1), evenly spaced on Slaney's mel scale.

    References
    ----------
    Slaney, "Auditory Toolbox", Interval Research, 1998: linear below 1 kHz, where a mel is 200/3 Hz, logarithmic above.
    """
    corner_hz, corner_mel, step = 1000.0, 15.0, np.log(6.4) / 27.0

    def mel_of(hz: float) -> float:
        return corner_mel + np.log(hz / corner_hz) / step if hz >= corner_hz else corner_mel * hz / corner_hz

    mel = np.linspace(mel_of(params.fmin), mel_of(params.fmax), params.n_mels + 2)
    edges_hz = np.where(
        mel >= corner_mel, corner_hz * np.exp(step * (mel - corner_mel)), mel * (corner_hz / corner_mel)
    )
    widths = np.diff(edges_hz)[:, None]
    beyond = np.fft.rfftfreq(params.n_fft, 1.0 / params.sample_rate) - edges_hz[:, None]
    filters: FloatArray = np.maximum(0, np.minimum(beyond[:-2] / widths[:-1], -beyond[2:] / widths[1:])).astype(
        np.float32
    )
    return filters


def _grouped(filters: FloatArray) -> list[tuple[slice, slice, FloatArray]]:
    """Cut a filter bank (n_bins, n_mels) into groups of neighbouring bands.

    Each group has a slice of a spectrum's real and imaginary parts (those of bin b are at 2b and 2b + 1), a slice of
    the bands, and the filters that map the one to the other.
    """
    groups = []
    for mels in np.array_split(np.arange(filters.shape[1]), min(_BAND_GROUPS, filters.shape[1])):
        columns = slice(int(mels[0]), int(mels[-1]) + 1)
        used = np.flatnonzero(filters[:, columns].any(axis=1))
        bins = slice(int(used[0]), int(used[-1]) + 1)
        parts = slice(2 * bins.start, 2 * bins.stop)
        groups.append((parts, columns, np.repeat(filters[bins, columns], 2, axis=0)))
    return groups
