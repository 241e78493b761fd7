"""FluidSynth: from the tones of a player to audio, with any General MIDI SoundFont.

The library is called directly, since it can give samples as floating-point numbers that way. Its reverb and chorus are
off: the studio has rooms of its own. FluidSynth begins and ends tones at blocks of 64 samples.
"""

import contextlib
import ctypes
import ctypes.util
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from drum_crnn.band.players import Part
from drum_crnn.foundation.errors import DrumCrnnError

__all__ = ["BLOCK", "Synthesizer", "has_fluidsynth"]

BLOCK = 64  # samples
_CHANNEL = 0
_FAILED = -1
_POLYPHONY = 64
_GAIN = 0.5

# Name, result and arguments of what is used; `fluidsynth/*.h` of version 2.
_POINTER, _INT, _DOUBLE, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_double, ctypes.c_char_p
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "new_fluid_settings": (_POINTER, ()),
    "delete_fluid_settings": (None, (_POINTER,)),
    "fluid_settings_setint": (_INT, (_POINTER, _TEXT, _INT)),
    "fluid_settings_setnum": (_INT, (_POINTER, _TEXT, _DOUBLE)),
    "new_fluid_synth": (_POINTER, (_POINTER,)),
    "delete_fluid_synth": (None, (_POINTER,)),
    "fluid_synth_sfload": (_INT, (_POINTER, _TEXT, _INT)),
    "fluid_synth_program_select": (_INT, (_POINTER, _INT, _INT, _INT, _INT)),
    "fluid_synth_noteon": (_INT, (_POINTER, _INT, _INT, _INT)),
    "fluid_synth_noteoff": (_INT, (_POINTER, _INT, _INT)),
    "fluid_synth_get_sfont_by_id": (_POINTER, (_POINTER, _INT)),
    "fluid_synth_add_sfont": (_INT, (_POINTER, _POINTER)),
    "fluid_synth_remove_sfont": (_INT, (_POINTER, _POINTER)),
    "fluid_synth_write_float": (_INT, (_POINTER, _INT, _POINTER, _INT, _INT, _POINTER, _INT, _INT)),
    "fluid_set_log_function": (_POINTER, (_INT, _POINTER, _POINTER)),
}


def has_fluidsynth() -> bool:
    """Whether the library FluidSynth is installed."""
    return ctypes.util.find_library("fluidsynth") is not None


@functools.cache
def _library() -> Any:
    name = ctypes.util.find_library("fluidsynth")
    if name is None:
        raise DrumCrnnError(
            "the band needs FluidSynth; install it (Debian and Ubuntu: apt install libfluidsynth3; macOS: brew install "
            "fluid-synth), or disable the band in variations.yaml"
        )
    library = ctypes.CDLL(name)
    for function, (result, arguments) in _FUNCTIONS.items():
        getattr(library, function).restype = result
        getattr(library, function).argtypes = arguments
    for level in range(5):  # what goes wrong is told by results
        library.fluid_set_log_function(level, None, None)
    return library


class Synthesizer:
    """One SoundFont, ready to play. Use it in a `with` block, or call `close`.

    Parameters
    ----------
    font : Path
        SF2 or SF3.
    sample_rate : int
        Hz.

    Raises
    ------
    DrumCrnnError
        If FluidSynth is not installed, or cannot read the SoundFont.
    """

    def __init__(self, font: Path, *, sample_rate: int) -> None:
        self.font, self.sample_rate = font, sample_rate
        self._library = _library()
        self._settings = self._library.new_fluid_settings()
        for key, number in ((b"synth.sample-rate", float(sample_rate)), (b"synth.gain", _GAIN)):
            self._library.fluid_settings_setnum(self._settings, key, number)
        integers = {
            b"synth.reverb.active": 0,
            b"synth.chorus.active": 0,
            b"synth.polyphony": _POLYPHONY,
            # Samples are read as programs are chosen. All at once are read by OpenMP, which stands still for ever in a
            # process that was forked after it had been used; it also takes a font's size in memory, in each worker.
            b"synth.dynamic-sample-loading": 1,
        }
        for key, value in integers.items():
            self._library.fluid_settings_setint(self._settings, key, value)
        # It only keeps the SoundFont. A synthesizer that has played before sounds a little different.
        self._keeper: int | None = self._library.new_fluid_synth(self._settings)
        number = self._library.fluid_synth_sfload(self._keeper, bytes(font), 1) if font.is_file() else _FAILED
        self._font = None if number == _FAILED else self._library.fluid_synth_get_sfont_by_id(self._keeper, number)
        if self._font is None:
            self.close()
            raise DrumCrnnError(f"{font}: FluidSynth cannot read this SoundFont")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free everything."""
        if self._keeper is not None:
            self._library.delete_fluid_synth(self._keeper)
            self._library.delete_fluid_settings(self._settings)
            self._keeper = None

    def missing(self, programs: Iterable[int]) -> list[int]:
        """Those of some programs of General MIDI that the SoundFont lacks."""
        with self._fresh() as (synth, font):
            return [program for program in programs if not self._select(synth, font, program)]

    def play(self, part: Part, *, n_samples: int) -> NDArray[np.float32]:
        """The audio of a part, float32, shape (2, n_samples): left and right. Equal calls give equal samples.

        Raises
        ------
        DrumCrnnError
            If the SoundFont lacks the part's program.
        """
        audio = np.zeros((2, -(-n_samples // BLOCK) * BLOCK), np.float32)
        with self._fresh() as (synth, font):
            if not self._select(synth, font, part.program):
                raise DrumCrnnError(f"{self.font}: has no program {part.program} of General MIDI")
            written = 0
            for block, pitch, velocity in self._events(part):
                at = min(block * BLOCK, audio.shape[1])
                self._write(synth, audio, written, at)
                written = at
                if velocity:
                    self._library.fluid_synth_noteon(synth, _CHANNEL, pitch, velocity)
                else:
                    self._library.fluid_synth_noteoff(synth, _CHANNEL, pitch)
            self._write(synth, audio, written, audio.shape[1])
        return audio[:, :n_samples]

    @contextlib.contextmanager
    def _fresh(self) -> Iterator[tuple[int, int]]:
        """A synthesizer that has not played yet, and the SoundFont's number in it."""
        synth = self._library.new_fluid_synth(self._settings)
        try:
            yield synth, self._library.fluid_synth_add_sfont(synth, self._font)
        finally:
            self._library.fluid_synth_remove_sfont(synth, self._font)  # otherwise it would be freed, too
            self._library.delete_fluid_synth(synth)

    def _select(self, synth: int, font: int, program: int) -> bool:
        return bool(self._library.fluid_synth_program_select(synth, _CHANNEL, font, 0, program) == 0)

    def _events(self, part: Part) -> Iterator[tuple[int, int, int]]:
        """Block, pitch and velocity (0 ends a tone), in order; ends come first, so that a tone can be repeated."""
        events = []
        for tone in part.tones:
            start = round(tone.time_s * self.sample_rate / BLOCK)
            end = max(start + 1, round((tone.time_s + tone.duration_s) * self.sample_rate / BLOCK))
            events += [(start, 1, tone.pitch, tone.velocity), (end, 0, tone.pitch, 0)]
        for block, _, pitch, velocity in sorted(events):
            yield block, pitch, velocity

    def _write(self, synth: int, audio: NDArray[np.float32], start: int, end: int) -> None:
        if end > start:
            left, right = (channel.ctypes.data_as(ctypes.c_void_p) for channel in audio)
            self._library.fluid_synth_write_float(synth, end - start, left, start, 1, right, start, 1)
