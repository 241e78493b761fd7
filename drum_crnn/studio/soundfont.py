"""Kits from SoundFonts: SF2, and SF3 whose samples are Ogg Vorbis.

Supported: preset zones × instrument zones with their global zones; ranges of keys and velocities, intersected at both
levels; generators of the preset, added to those of the instrument; sample rate, root key, tuning and key scaling;
sample and loop offsets; stereo pairs; attenuation; the volume envelope's attack, hold, decay and sustain; the pitch
envelope, which lowers the pitch of synthetic drums; the low-pass filter's cutoff.

Simplified, because nobody holds a drum: note-offs are ignored; the filter stays where the modulation envelope opens it
furthest; modulators, LFOs, resonance, effects and pan are ignored. Attenuation counts 0.4 times: the hardware of the
time did so, and authors tuned their fonts by ear on it.

A font need not follow General MIDI. So the names of its samples are compared with the lane they would play
(`drum_crnn.studio.names`), and the known exceptions of standards and fonts are listed below.

References
----------
E-mu Systems, "SoundFont Technical Specification", version 2.04, 2006.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.signal
import soundfile

from drum_crnn.foundation.console import warn
from drum_crnn.foundation.errors import DrumCrnnError, refused_error
from drum_crnn.music.lanes import LANE_OF_NOTE, LANES
from drum_crnn.studio.kits import (
    FloatArray,
    Kit,
    Layer,
    Sample,
    Sound,
    finish_one_shot,
    level_velocities,
    resample,
)
from drum_crnn.studio.names import is_attack_noise, may_be_lane

__all__ = ["open_soundfont", "samples_of_soundfont"]

_DRUM_BANKS = (128, 127, 120)  # the standard's, and those of XG and GM2
_NEEDED_LANES = frozenset({"kick", "snare", "hihat"})

# General MIDI's percussion of no lane: clap, tambourine, cowbell, vibraslap, bongos to open triangle, shaker. Guiros,
# rolls and belltrees are left out: they have no single onset.
_PERCUSSION_KEYS = (39, 54, 56, 58, *range(60, 73), *range(75, 79), 80, 81, 82)

# Roland's extra notes: General MIDI has a vibraslap at 58 and nothing at 22 and 26 (some fonts put a scratch there).
_GENERAL_MIDI_NOTES = {note: note for note in LANE_OF_NOTE if note not in (22, 26, 58)}

# Notes that Roland's GS standard, which fonts follow, gives to sounds without a clear onset or of no lane: brush 40 is
# a swirl, electronic 52 a reversed cymbal, and the orchestra's kit has a pair of cymbals at 59, others a ride.
_NOT_THE_LANE: dict[int, frozenset[int]] = {24: frozenset({52}), 40: frozenset({40}), 48: frozenset({59})}

# The AVL Drumkits (bank 0, program 0) have keys of their own; font key -> our note. Left out: 48 hi-hat swish, 50, 52
# and 58 choked cymbals, percussion. 41 and 43 are the centre and edge of the floor tom, 45 and 47 of the rack tom (the
# only one, so the high one), 59 the ride's shank, 60 a second large crash.
_AVL_NOTES = {
    **{key: key for key in (36, 37, 38, 40, 41, 42, 43, 44, 46, 49, 51, 53, 55, 57, 59)},
    45: 48,
    47: 50,
    60: 52,
}
_NOTES_OF_FONT = {"Black Pearl 4pc": _AVL_NOTES, "Red Zeppelin 4 LV2": _AVL_NOTES}

# A looped sample sounds until its envelope has fallen by 60 dB; if it never does, this long.
_MAX_LOOPED_SECONDS = 3.0

# Generators (section 8.1.2 of the specification).
_START, _END, _LOOP_START, _LOOP_END = 0, 1, 2, 3
_START_COARSE, _END_COARSE, _LOOP_START_COARSE, _LOOP_END_COARSE = 4, 12, 45, 50
_ENVELOPE_TO_PITCH, _CUTOFF, _ENVELOPE_TO_CUTOFF, _PAN = 7, 8, 11, 17
_PITCH_ATTACK, _PITCH_HOLD, _PITCH_DECAY, _PITCH_SUSTAIN = 26, 27, 28, 29
_ATTACK, _HOLD, _DECAY, _SUSTAIN = 34, 35, 36, 37
_INSTRUMENT, _KEY_RANGE, _VELOCITY_RANGE, _ATTENUATION = 41, 43, 44, 48
_COARSE_TUNE, _FINE_TUNE, _SAMPLE_ID, _SAMPLE_MODES, _SCALE_TUNING, _ROOT_KEY = 51, 52, 53, 54, 56, 58

_DEFAULTS = {
    **dict.fromkeys((_ATTACK, _HOLD, _DECAY, _PITCH_ATTACK, _PITCH_HOLD, _PITCH_DECAY), -12000),
    _CUTOFF: 13500,
    _SCALE_TUNING: 100,
    _ROOT_KEY: -1,
}
# Generators that a preset may not change: they belong to the sample.
_INSTRUMENT_ONLY = frozenset(
    {_START, _END, _LOOP_START, _LOOP_END, _START_COARSE, _END_COARSE, _LOOP_START_COARSE, _LOOP_END_COARSE}
    | {_SAMPLE_MODES, _ROOT_KEY, _SAMPLE_ID, _INSTRUMENT, _KEY_RANGE, _VELOCITY_RANGE}
)

_TABLES = {
    b"phdr": [("name", "S20"), ("program", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("reserved", "V12")],
    b"pbag": [("generator", "<u2"), ("modulator", "<u2")],
    b"pgen": [("operator", "<u2"), ("amount", "<i2")],
    b"inst": [("name", "S20"), ("bag", "<u2")],
    b"ibag": [("generator", "<u2"), ("modulator", "<u2")],
    b"igen": [("operator", "<u2"), ("amount", "<i2")],
    b"shdr": [
        ("name", "S20"),
        ("start", "<u4"),
        ("end", "<u4"),
        ("loop_start", "<u4"),
        ("loop_end", "<u4"),
        ("sample_rate", "<u4"),
        ("root_key", "u1"),
        ("correction", "i1"),
        ("link", "<u2"),
        ("type", "<u2"),
    ],
}
_RIGHT, _LEFT, _VORBIS, _ROM = 2, 4, 0x10, 0x8000


@dataclass(frozen=True)
class _Zone:
    """How one sample plays for some keys and velocities; ranges are inclusive."""

    keys: tuple[int, int]
    velocities: tuple[int, int]
    generators: dict[int, int]

    def __getitem__(self, generator: int) -> int:
        return self.generators.get(generator, _DEFAULTS.get(generator, 0))

    @property
    def sample(self) -> int:
        return self.generators[_SAMPLE_ID]


def open_soundfont(path: Path, *, preset: str | None = None) -> list[Kit]:
    """Open the drum presets of a SoundFont as kits named FILE/PRESET.

    Parameters
    ----------
    path : Path
        An `.sf2` or `.sf3` file. Only the samples its drum presets use are read.
    preset : str or None
        The name of the one preset to open.

    Returns
    -------
    list of Kit
        In order of program number. Presets without a kick, a snare and a hi-hat are left out: marching drums,
        orchestras.

    Raises
    ------
    DrumCrnnError
        If the file cannot be read, is no SoundFont, or holds no drum preset, or none of that name.
    """
    try:
        with path.open("rb") as file:
            font = _Font(file, path)
            presets = font.drum_presets()
            if preset is not None:
                everything = font.drum_presets(any_bank=True)
                known = ", ".join(sorted(name for name, _, _ in presets or everything)) or "none"
                of_name = ([one for one in candidates if one[0] == preset] for candidates in (presets, everything))
                presets = next(filter(None, of_name), [])
                if not presets:
                    raise DrumCrnnError(f"{path}: has no drum preset '{preset}'; it has: {known}")
            kits = [font.kit(name, index, notes) for name, index, notes in presets]
    except FileNotFoundError:
        raise DrumCrnnError(f"{path}: there is no such SoundFont") from None
    except OSError as error:
        raise refused_error(path, error) from None
    kits = [kit for kit in kits if {LANES[LANE_OF_NOTE[note]] for note in kit.sounds} >= _NEEDED_LANES]
    if not kits:
        raise DrumCrnnError(
            f"{path}: holds no drum kit (a preset in bank 128 with kick, snare and hi-hat); a preset "
            "in another bank opens by its name: soundfont:FILE#PRESET"
        )
    return kits


def samples_of_soundfont(path: Path) -> set[str]:
    """SHA-256 of each sample of a SoundFont, of drums and of other instruments.

    Raises
    ------
    DrumCrnnError
        If the file cannot be read, or is no SoundFont.
    """
    try:
        with path.open("rb") as file:
            return _Font(file, path).sample_checksums()
    except FileNotFoundError:
        raise DrumCrnnError(f"{path}: there is no such SoundFont") from None
    except OSError as error:
        raise refused_error(path, error) from None


class _Font:
    """The tables of a SoundFont, and its samples while the file is open."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file = file
        self.path = path
        try:
            chunks = dict(_chunks(file))
            self.tables: dict[bytes, Any] = {
                name: np.frombuffer(self._read(*chunks[name]), dtype=dtype) for name, dtype in _TABLES.items()
            }
            self.wave_start, self.wave_size = chunks[b"smpl"]
        except (KeyError, ValueError) as error:
            raise DrumCrnnError(f"{path}: is no SoundFont, or a damaged one ({error})") from None
        self.name = self._text(chunks.get(b"INAM"))
        self.licence = " ".join(self._text(chunks.get(b"ICOP")).split()) or "not stated"
        self._samples: dict[tuple[Any, ...], Sample | None] = {}

    def drum_presets(self, *, any_bank: bool = False) -> list[tuple[str, int, dict[int, int]]]:
        """Name, index and key map (font key -> note) of each drum preset, by program.

        Drums are in bank 128, in some fonts in those of XG. What else a font holds counts with `any_bank` alone.
        """
        own = _NOTES_OF_FONT.get(self.name)
        headers = self.tables[b"phdr"][:-1]
        drum_bank = next((bank for bank in _DRUM_BANKS if bank in headers["bank"]), _DRUM_BANKS[0])
        found: list[tuple[str, int, dict[int, int]]] = []
        for index in np.lexsort((headers["program"], headers["bank"])):
            bank, program = int(headers["bank"][index]), int(headers["program"][index])
            if own is not None and (bank, program) == (0, 0):
                notes = own
            elif own is None and (any_bank or bank == drum_bank):
                left_out = _NOT_THE_LANE.get(program, frozenset())
                notes = {key: note for key, note in _GENERAL_MIDI_NOTES.items() if key not in left_out}
            else:
                continue
            name = _decode(headers["name"][index]).replace("/", "-") or f"Program {program}"
            if any(name == other for other, _, _ in found):
                name = f"{name} ({program})"
            found.append((name, int(index), notes))
        return found

    def sample_checksums(self) -> set[str]:
        """SHA-256 of each sample's data."""
        try:
            return {
                hashlib.sha256(self._raw(header)).hexdigest()
                for header in self.tables[b"shdr"][:-1]
                if not int(header["type"]) & _ROM and header["end"] > header["start"]
            }
        except ValueError as error:
            raise DrumCrnnError(f"{self.path}: is damaged ({error})") from None

    def kit(self, name: str, preset: int, notes: dict[int, int]) -> Kit:
        """One preset as a kit."""
        try:
            zones = list(self._zones(preset))
            sounds = {}
            for key, note in notes.items():
                layers = self._layers(self._playing(zones, key, note), key=key)
                if layers:
                    sounds[note] = Sound(note, level_velocities(layers))
            percussion = []
            for key in _PERCUSSION_KEYS if self.name not in _NOTES_OF_FONT else ():
                layers = self._layers([zone for zone in zones if zone.keys[0] <= key <= zone.keys[1]], key=key)
                if layers:
                    percussion.append(Sound(key, level_velocities(layers)))
        except (IndexError, KeyError, ValueError) as error:
            raise DrumCrnnError(f"{self.path}: preset '{name}' is damaged ({error})") from None
        return Kit(f"{self.path.stem}/{name}", dict(sorted(sounds.items())), tuple(percussion))

    def _zones(self, preset: int) -> Iterator[_Zone]:
        for outer in self._zones_of(b"phdr", b"pbag", b"pgen", preset, _INSTRUMENT):
            added = {key: value for key, value in outer.generators.items() if key not in _INSTRUMENT_ONLY}
            for inner in self._zones_of(b"inst", b"ibag", b"igen", outer.generators[_INSTRUMENT], _SAMPLE_ID):
                keys = max(outer.keys[0], inner.keys[0]), min(outer.keys[1], inner.keys[1])
                low = max(outer.velocities[0], inner.velocities[0], 1)
                high = min(outer.velocities[1], inner.velocities[1], 127)
                if keys[0] > keys[1] or low > high:
                    continue
                generators = inner.generators | {key: inner[key] + value for key, value in added.items()}
                yield _Zone(keys, (low, high), generators)

    def _zones_of(self, headers: bytes, bags: bytes, generators: bytes, index: int, last: int) -> Iterator[_Zone]:
        """Zones of a preset or instrument, with the global zone's values. Generator `last` names what a zone plays."""
        header, bag, table = self.tables[headers], self.tables[bags]["generator"], self.tables[generators]
        default: dict[int, int] = {}
        for position, zone in enumerate(range(header["bag"][index], header["bag"][index + 1])):
            rows = table[bag[zone] : bag[zone + 1]]
            values = {int(operator): int(amount) for operator, amount in rows}
            if last in values:
                values = default | values
                values[last] &= 0xFFFF
                yield _Zone(_range(values.get(_KEY_RANGE)), _range(values.get(_VELOCITY_RANGE)), values)
            elif position == 0:
                default = values

    def _playing(self, zones: Sequence[_Zone], key: int, note: int) -> list[_Zone]:
        """The zones of `key` that may play `note`; none if only the noise of a stack would remain."""
        playing = [zone for zone in zones if zone.keys[0] <= key <= zone.keys[1]]
        names = [_decode(self.tables[b"shdr"][zone.sample]["name"]) for zone in playing]
        fitting = [zone for zone, name in zip(playing, names, strict=True) if may_be_lane(name, note)]
        if len(fitting) < len(playing) and all(is_attack_noise(name) for name in names if may_be_lane(name, note)):
            return []
        return fitting

    def _layers(self, zones: Sequence[_Zone], *, key: int) -> list[Layer]:
        layers = []
        paired: set[int] = set()
        for index, zone in enumerate(zones):
            if index in paired:
                continue
            sides = [zone]
            for other in range(index + 1, len(zones)):
                if other not in paired and self._is_pair(zone, zones[other]):
                    paired.add(other)
                    sides.append(zones[other])
                    break
            sample = self._sample(sides, key=key)
            if sample is not None:
                gain = 10 ** (-0.4 * max(zone[_ATTENUATION], 0) / 200)
                layers.append(Layer(sample, *zone.velocities, gain))
        return layers

    def _is_pair(self, one: _Zone, other: _Zone) -> bool:
        """Whether two zones are the left and right channel of one recording."""
        if one.velocities != other.velocities:
            return False
        headers = self.tables[b"shdr"]
        first, second = headers[one.sample], headers[other.sample]
        linked = {int(first["type"]) & 0x0F, int(second["type"]) & 0x0F} == {_LEFT, _RIGHT} and (
            int(first["link"]) == other.sample or int(second["link"]) == one.sample
        )
        pans = sorted((one[_PAN], other[_PAN]))
        same_length = first["end"] - first["start"] == second["end"] - second["start"]
        return linked or bool(pans[0] <= -400 and pans[1] >= 400 and same_length and one.sample != other.sample)

    def _sample(self, sides: Sequence[_Zone], *, key: int) -> Sample | None:
        """Make the one-shot of a zone, or of the two zones of a stereo pair; None if it is silent or damaged."""
        headers = [self.tables[b"shdr"][zone.sample] for zone in sides]
        name = _decode(headers[0]["name"])
        if any(int(header["type"]) & _ROM for header in headers):
            return None
        ignored = (_ATTENUATION, _PAN, _KEY_RANGE, _VELOCITY_RANGE, _SCALE_TUNING)
        recipe = tuple(
            (_rate(zone, header, key), *sorted(item for item in zone.generators.items() if item[0] not in ignored))
            for zone, header in zip(sides, headers, strict=True)
        )
        if recipe not in self._samples:
            self._samples[recipe] = None
            try:
                raw = [self._raw(header) for header in headers]
                channels = [
                    self._channel(zone, header, key=key, data=data)
                    for zone, header, data in zip(sides, headers, raw, strict=True)
                ]
            except ValueError as error:
                warn(f"{self.path}: {error}, so it is left out")
                return None
            length = max(channel.size for channel in channels)
            mixed = sum(np.pad(channel, (0, length - channel.size)) for channel in channels) / len(channels)
            audio = finish_one_shot(np.asarray(mixed, dtype=np.float32))
            sha256 = hashlib.sha256(b"".join(raw)).hexdigest()
            sample = Sample(name, audio, sha256, self.path.name, self.licence) if audio.size else None
            self._samples[recipe] = sample
        return self._samples[recipe]

    def _channel(self, zone: _Zone, header: Any, *, key: int, data: bytes) -> FloatArray:
        """One channel at 44.1 kHz, tuned, enveloped and filtered, not yet trimmed."""
        audio = self._decoded(data, header)
        sample_rate = _rate(zone, header, key)
        vorbis = int(header["type"]) & _VORBIS
        base = 0 if vorbis else int(header["start"])
        start = zone[_START] + 32768 * zone[_START_COARSE]
        end = audio.size + zone[_END] + 32768 * zone[_END_COARSE]
        start, end = max(start, 0), min(max(end, 0), audio.size)
        if zone[_SAMPLE_MODES] & 1:
            loop_start = int(header["loop_start"]) - base + zone[_LOOP_START] + 32768 * zone[_LOOP_START_COARSE]
            loop_end = int(header["loop_end"]) - base + zone[_LOOP_END] + 32768 * zone[_LOOP_END_COARSE]
            if start <= loop_start < loop_end <= audio.size:
                bend = 2 ** (max(zone[_ENVELOPE_TO_PITCH], 0) / 1200)
                n_samples = round(_sounding_seconds(zone) * sample_rate * bend)
                audio = _unroll(audio[start:loop_end], loop_start - start, n_samples)
                start, end = 0, audio.size
        audio = _bent(resample(audio[start:end], sample_rate=sample_rate), zone)
        return _filtered(audio * _envelope(zone, audio.size), zone)

    def _raw(self, header: Any) -> bytes:
        start, end = int(header["start"]), int(header["end"])
        width = 1 if int(header["type"]) & _VORBIS else 2
        if not 0 <= start <= end <= self.wave_size // width:
            raise ValueError(f"sample '{_decode(header['name'])}' lies outside the file")
        return self._read(self.wave_start + start * width, (end - start) * width)

    def _decoded(self, data: bytes, header: Any) -> FloatArray:
        if int(header["type"]) & _VORBIS:
            try:
                audio, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise ValueError(f"sample '{_decode(header['name'])}' cannot be decoded: {error}") from None
            return np.asarray(audio[:, 0], dtype=np.float32)
        return np.frombuffer(data, dtype="<i2").astype(np.float32) * np.float32(1 / 32768)

    def _text(self, place: tuple[int, int] | None) -> str:
        return "" if place is None else _decode(self._read(*place))

    def _read(self, start: int, size: int) -> bytes:
        self.file.seek(start)
        data = self.file.read(size)
        if len(data) < size:
            raise ValueError("the file ends too early")
        return data


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Name, start and size of every chunk inside the lists of a SoundFont."""
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise ValueError("its first bytes are those of another format")
    end = 8 + int.from_bytes(head[4:8], "little")
    position = 12
    while position + 8 <= end:
        file.seek(position)
        name, size = file.read(4), int.from_bytes(file.read(4), "little")
        if name == b"LIST":
            position += 12
            continue
        if len(name) < 4:
            return
        yield name, (position + 8, size)
        position += 8 + size
        # The standard pads chunks to even sizes with a zero; writers of SF3 do not.
        file.seek(position)
        if size % 2 and file.read(1) == b"\0":
            position += 1


def _decode(text: bytes) -> str:
    return bytes(text).split(b"\0", 1)[0].decode("utf-8", errors="replace").strip()


def _range(amount: int | None) -> tuple[int, int]:
    if amount is None:
        return 0, 127
    return amount & 0xFF, amount >> 8 & 0xFF


def _rate(zone: _Zone, header: Any, key: int) -> float:
    """The rate at which the sample is read, which includes its tuning."""
    root = zone[_ROOT_KEY]
    if not 0 <= root <= 127:
        root = int(header["root_key"])
    if root > 127:
        root = 60  # "unpitched"
    cents: float = (
        (key - root) * zone[_SCALE_TUNING] + 100 * zone[_COARSE_TUNE] + zone[_FINE_TUNE] + int(header["correction"])
    )
    cents += zone[_ENVELOPE_TO_PITCH] * _pitch_sustain(zone)
    rate = int(header["sample_rate"]) * 2 ** (cents / 1200)
    if not 100 <= rate <= 10_000_000:
        raise ValueError(f"sample '{_decode(header['name'])}' would be read at {rate:.0f} Hz")
    return float(rate)


def _seconds(timecents: int) -> float:
    return float(2 ** (timecents / 1200))


def _sounding_seconds(zone: _Zone) -> float:
    """Seconds until the envelope has fallen by 60 dB."""
    if zone[_SUSTAIN] < 600:
        return _MAX_LOOPED_SECONDS
    total = _seconds(zone[_ATTACK]) + _seconds(zone[_HOLD]) + 0.6 * _seconds(zone[_DECAY])
    return min(total, 10.0)


def _unroll(audio: FloatArray, loop_start: int, n_samples: int) -> FloatArray:
    """`audio`, which ends with its loop, continued by the loop up to `n_samples`."""
    loop = audio[loop_start:]
    n_loops = max(0, -(-(n_samples - audio.size) // loop.size))
    return np.concatenate([audio, np.tile(loop, n_loops)])[: max(n_samples, 1)]


def _envelope(zone: _Zone, n_samples: int) -> FloatArray:
    """The volume envelope without its release: attack linear in amplitude, decay linear in dB (100 dB in its time)."""
    times = np.arange(n_samples, dtype=np.float64) / 44_100
    attack, hold, decay = _seconds(zone[_ATTACK]), _seconds(zone[_HOLD]), _seconds(zone[_DECAY])
    sustain_db = min(max(zone[_SUSTAIN], 0), 1440) / 10
    fallen_db = np.clip((times - attack - hold) / decay * 100, 0, sustain_db)
    return (np.minimum(times / attack, 1) * 10 ** (-fallen_db / 20)).astype(np.float32)


def _pitch_sustain(zone: _Zone) -> float:
    """Where the pitch envelope ends up, 0–1 of its range."""
    return 1 - min(max(zone[_PITCH_SUSTAIN], 0), 1000) / 1000


def _bent(audio: FloatArray, zone: _Zone) -> FloatArray:
    """Apply the pitch envelope relative to its sustained level, which the sample's rate includes."""
    depth = zone[_ENVELOPE_TO_PITCH] * (1 - _pitch_sustain(zone))
    if abs(depth) < 10 or audio.size < 2:
        return audio
    times = np.arange(2 * audio.size) / 44_100
    attack, hold = _seconds(zone[_PITCH_ATTACK]), _seconds(zone[_PITCH_HOLD])
    # The format gives the decay for the whole range; it ends at the sustained level.
    decay = _seconds(zone[_PITCH_DECAY]) * (1 - _pitch_sustain(zone))
    level = np.minimum(times / attack, 1) * np.clip(1 - (times - attack - hold) / decay, 0, 1)
    positions = np.cumsum(2 ** (depth * level / 1200))
    positions = positions[positions <= audio.size - 1]
    return np.interp(positions, np.arange(audio.size), audio).astype(np.float32)


def _filtered(audio: FloatArray, zone: _Zone) -> FloatArray:
    """Apply the low-pass filter of 12 dB an octave, at its widest opening."""
    cents = zone[_CUTOFF] + max(zone[_ENVELOPE_TO_CUTOFF], 0)
    cutoff = 8.176 * 2 ** (cents / 1200)
    if cents >= 13500 or cutoff >= 20_000:
        return audio
    sections = scipy.signal.butter(2, cutoff, fs=44_100, output="sos")
    return np.asarray(scipy.signal.sosfilt(sections, audio), dtype=np.float32)
