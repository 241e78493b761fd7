"""The condition of a recording: what makes its transcription doubtful, measured in one pass over its blocks.

The lines below which a recording is doubted are choices, made once on a few recordings, and not tuned. Tests hold a
sound on both sides of each.
"""

import math

import numpy as np
from numpy.typing import NDArray

from drum_crnn.music.audio import Block

__all__ = ["Condition"]

# Peaks in dB of full scale, a constant taken off. A peak of -75 dB is six steps of 16 bits: what is below is dither.
_SILENT_DB = -75.0
_QUIET_DB = -45.0
_LOUD_DB = 20.0  # floats above full scale are common, but not ten times above: these are in units of integers
_USUAL_DB = -12.0  # the peak of a quiet or loud recording after its level has been changed
# Samples that are cut off: equal to the highest or the lowest of the recording, as is the sample before them. Loud
# masters have a few in a thousand. A lossy format rounds them off, so that they are not noticed.
_CLIPPED_SHARE = 0.03
# Hi-hats and cymbals sound above. Telephones leave nothing there, nor do rates of 8 and 11 kHz; a kick alone does.
_BAND_HZ = 5_500.0
_BAND_DB = -55.0  # of the power there over that of the whole spectrum
_WINDOW = 4096  # samples, around the loudest sample of each second
_HANN = np.hanning(_WINDOW)


class Condition:
    """Listens to the blocks of one recording; `read_blocks` and `mono_blocks` take `listen`.

    Memory is bounded. The cost is about a millisecond for ten seconds of stereo.

    Examples
    --------
    >>> condition = Condition()
    >>> condition.listen(Block(np.zeros((441, 1), np.float32), np.zeros(441, np.float32), 44100, False))
    >>> condition.doubts()
    ('is silent from beginning to end; check what was recorded or exported',)
    """

    def __init__(self) -> None:
        self._duration_s = self._cancelled_s = 0.0
        self._low, self._high = math.inf, -math.inf  # of the mono samples
        self._n_samples = 0  # of all channels
        self._top, self._bottom = _Extreme(1), _Extreme(-1)
        self._power = self._power_above = 0.0

    def listen(self, block: Block) -> None:
        """Measure the next block."""
        if not len(block.mono):
            return
        is_later = self._duration_s > 0
        duration_s = len(block.mono) / block.sample_rate
        self._duration_s += duration_s
        self._cancelled_s += duration_s if block.cancels else 0.0
        self._low, self._high = min(self._low, float(block.mono.min())), max(self._high, float(block.mono.max()))
        self._n_samples += block.channels.size
        self._top.listen(block.channels)
        self._bottom.listen(block.channels)
        for start in range(0, len(block.mono), block.sample_rate):
            second = block.mono[start : start + block.sample_rate]
            if not is_later and start == 0:  # a stroke at the very beginning would lie at the edge of the window
                second = np.concatenate([np.full(_WINDOW // 2, second[0]), second])
            self._add_spectrum(second, block.sample_rate)

    @property
    def peak_db(self) -> float:
        """Half the distance from the lowest to the highest mono sample, in dB of full scale; -inf for a constant."""
        swing = (self._high - self._low) / 2
        return 20 * math.log10(swing) if swing > 0 else -math.inf

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing but digital silence, a constant, or dither."""
        return self.peak_db < _SILENT_DB

    @property
    def gain(self) -> float:
        """What to multiply the samples by, so that an almost silent or far too loud recording is heard, or 1."""
        return 10 ** ((_USUAL_DB - self.peak_db) / 20) if self.is_quiet or self.is_loud else 1.0

    @property
    def clipped_share(self) -> float:
        """Share of the samples that are cut off: at the highest or lowest value, as is the sample before them."""
        return (self._top.n_flat + self._bottom.n_flat) / self._n_samples if self._n_samples else 0.0

    @property
    def cancelled_s(self) -> float:
        """Seconds in which channels cancel each other in their mean."""
        return self._cancelled_s

    def doubts(self) -> tuple[str, ...]:
        """What is wrong and what to do, a clause each that the recording's name goes before; empty if all is well."""
        if self.is_silent:
            return ("is silent from beginning to end; check what was recorded or exported",)
        found = []
        if self.is_quiet:
            found.append(f"is almost silent (its peak is {self.peak_db:.0f} dBFS) and was amplified; record it louder")
        if self.is_loud:
            found.append(
                f"has samples far above full scale (its peak is {self.peak_db:+.0f} dBFS), so its level was lowered; "
                "scale it to ±1"
            )
        if self._cancelled_s > 0:
            part = "" if self._cancelled_s > 0.99 * self._duration_s else f" in {self._cancelled_s:.0f} s of it"
            found.append(f"has channels that cancel each other{part}, so their difference was used; invert one of them")
        if self.clipped_share > _CLIPPED_SHARE and not self.is_quiet:
            found.append(
                f"is clipped ({100 * self.clipped_share:.0f} % of the samples), so strokes may be missing; record it "
                "softer"
            )
        if self._power_above < 10 ** (_BAND_DB / 10) * self._power:
            found.append(
                f"has nothing above {_BAND_HZ / 1000:g} kHz, so do not trust hi-hat and cymbals; use a recording of "
                "full bandwidth"
            )
        return tuple(found)

    @property
    def is_quiet(self) -> bool:
        """Whether there is something, and it is almost silent."""
        return _SILENT_DB <= self.peak_db < _QUIET_DB

    @property
    def is_loud(self) -> bool:
        """Whether its samples are so far above full scale that they are of another scale."""
        return self.peak_db > _LOUD_DB

    def _add_spectrum(self, second: NDArray[np.float32], sample_rate: int) -> None:
        middle = max(int(second.argmax()), _WINDOW // 2)
        window = second[max(0, min(middle - _WINDOW // 2, len(second) - _WINDOW)) :][:_WINDOW]
        spectrum = np.fft.rfft(
            (window - window.mean()) * (_HANN if len(window) == _WINDOW else np.hanning(len(window)))
        )
        power = spectrum.real**2 + spectrum.imag**2
        self._power += float(power.sum())
        self._power_above += float(power[math.ceil(_BAND_HZ * len(window) / sample_rate) :].sum())


class _Extreme:
    """Counts the samples at the highest (sign 1) or the lowest (-1) value so far that follow one of the same value."""

    def __init__(self, sign: int) -> None:
        self.n_flat = 0
        self._sign = sign
        self._value = -math.inf

    def listen(self, channels: NDArray[np.generic]) -> None:
        value = channels.max() if self._sign > 0 else channels.min()
        signed = self._sign * float(value)
        if signed < self._value:
            return
        if signed > self._value:
            self._value, self.n_flat = signed, 0
        is_there = channels == value
        self.n_flat += int(np.count_nonzero(is_there[1:] & is_there[:-1]))
