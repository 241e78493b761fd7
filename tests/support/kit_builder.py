"""Builders of test material: clicks, a small SoundFont, a Hydrogen drumkit, kits of impulses."""

import functools
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import soundfile
from first_party import ROOT
from numpy.typing import NDArray
from yaml_files import read_yaml

from drum_crnn.foundation.params import StrictModel
from drum_crnn.studio.kits import FloatArray, Kit, Layer, Sample, Sound

SAMPLE_RATE = 44_100
VARIATIONS_FILE = ROOT / "variations.yaml"

Part = TypeVar("Part", bound=StrictModel)

# Generators of SoundFonts, by their numbers in the specification.
START_OFFSET, END_OFFSET, PAN = 0, 1, 17
ATTACK, HOLD, DECAY, SUSTAIN = 34, 35, 36, 37
INSTRUMENT, KEYS, VELOCITIES, ATTENUATION = 41, 43, 44, 48
COARSE_TUNE, FINE_TUNE, SAMPLE, MODES, SCALE_TUNING, ROOT_KEY = 51, 52, 53, 54, 56, 58
MONO, RIGHT, LEFT, VORBIS, ROM = 1, 2, 4, 0x10, 0x8000

Zone = dict[int, int]


def effects_of(part: str, *, variation: str = "studio") -> dict[str, Any]:
    """The values of one part of a variation in the project's own variations.yaml."""
    return dict(_variations()[variation][part])


@functools.cache
def _variations() -> dict[str, Any]:
    return cast(dict[str, Any], read_yaml(VARIATIONS_FILE))


def varied(cls: type[Part], part: str, **changes: Any) -> Part:
    """A part of a variation with all effects off but those in `changes`.

    A change is an amount, a range, or the keys of an effect; unless it says otherwise, the effect always acts.
    """
    always = {"enabled": True, "probability": 1.0}
    values = {
        name: value | always | {"enabled": False} if isinstance(value, dict) else value
        for name, value in effects_of(part).items()
    }
    for name in {"enabled", "probability"} & values.keys():
        values[name] = always[name]
    for name, change in changes.items():
        if isinstance(values[name], dict):
            amounts = (
                {} if isinstance(change, dict) else {"range": change if isinstance(change, list) else [change] * 2}
            )
            change = values[name] | always | (change if isinstance(change, dict) else amounts)
        values[name] = change
    return cls.model_validate_json(json.dumps(values))


def hit(frequency: float = 500.0, *, seconds: float = 0.3, silence_s: float = 0.0, level: float = 0.5) -> FloatArray:
    """A decaying tone that begins at its peak, after some silence; mono, 44.1 kHz."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = level * np.cos(2 * np.pi * frequency * times) * np.exp(-times / 0.05)
    return np.concatenate([np.zeros(round(silence_s * SAMPLE_RATE)), tone]).astype(np.float32)


def frequency_of(audio: FloatArray, *, sample_rate: int = SAMPLE_RATE) -> float:
    """The strongest frequency in Hz, to about 1 Hz."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(audio.size), n=1 << 17))
    return float(np.argmax(spectrum) * sample_rate / (1 << 17))


def write_wav(path: Path, audio: NDArray[np.floating], *, sample_rate: int = SAMPLE_RATE) -> Path:
    """Write audio of shape (n_samples,) or (n_samples, n_channels) in the format that the suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, sample_rate)
    return path


@dataclass
class FontSample:
    """A sample of a font to be; `data` replaces what `audio` would be stored as."""

    name: str
    audio: FloatArray
    sample_rate: int = SAMPLE_RATE
    root: int = 60
    correction: int = 0
    kind: int = MONO
    link: int = 0
    loop: tuple[int, int] = (0, 0)
    data: bytes | None = None


@dataclass
class FontPreset:
    """A preset of a font to be; zones of both levels are tables of generators."""

    name: str
    zones: Sequence[Zone]
    bank: int = 128
    program: int = 0


@dataclass
class Font:
    """A font to be."""

    samples: Sequence[FontSample]
    instruments: Sequence[Sequence[Zone]]
    presets: Sequence[FontPreset]
    info: Mapping[str, str] = field(default_factory=lambda: {"INAM": "Test"})


def span(low: int, high: int) -> int:
    """A range of keys or velocities as a generator's amount."""
    return low | high << 8


def write_soundfont(path: Path, font: Font) -> Path:
    """Write `font` as SF2 (or SF3, if its samples are of the kind `VORBIS`)."""
    wave, headers = b"", b""
    for sample in font.samples:
        vorbis = bool(sample.kind & VORBIS)
        data = sample.data or np.round(sample.audio * 32767).astype("<i2").tobytes()
        start, end = (len(wave), len(wave) + len(data)) if vorbis else (len(wave) // 2, (len(wave) + len(data)) // 2)
        base = 0 if vorbis else start
        headers += struct.pack(
            "<20s5IBbHH",
            sample.name.encode(),
            start,
            end,
            base + sample.loop[0],
            base + sample.loop[1],
            sample.sample_rate,
            sample.root,
            sample.correction,
            sample.link,
            sample.kind,
        )
        wave += data + (b"" if vorbis else bytes(2 * 46))
    headers += struct.pack("<20s5IBbHH", b"EOS", *[0] * 9)
    phdr, pbag, pgen = _levels([(preset.name, preset.zones) for preset in font.presets], last=INSTRUMENT)
    inst, ibag, igen = _levels([(f"Instrument {n}", zones) for n, zones in enumerate(font.instruments)], last=SAMPLE)
    programs = [(preset.program, preset.bank) for preset in font.presets] + [(0, 0)]
    phdr_rows = b"".join(
        struct.pack("<20sHHH12s", name, program, bank, bag, bytes(12))
        for (name, bag), (program, bank) in zip(phdr, programs, strict=True)
    )
    inst_rows = b"".join(struct.pack("<20sH", name, bag) for name, bag in inst)
    info = b"".join(_chunk(key, text.encode() + b"\0") for key, text in font.info.items())
    tables = {
        "phdr": phdr_rows,
        "pbag": pbag,
        "pmod": bytes(10),
        "pgen": pgen,
        "inst": inst_rows,
        "ibag": ibag,
        "imod": bytes(10),
        "igen": igen,
        "shdr": headers,
    }
    body = (
        _chunk("LIST", b"INFO" + info)
        + _chunk("LIST", b"sdta" + _chunk("smpl", wave))
        + _chunk("LIST", b"pdta" + b"".join(_chunk(name, data) for name, data in tables.items()))
    )
    path.write_bytes(_chunk("RIFF", b"sfbk" + body))
    return path


def drum_font(*, names: Mapping[int, str] | None = None, program: int = 0) -> Font:
    """A font with one preset "Kit": kick (36), snare (38) and closed hi-hat (42), and further keys as `names` say."""
    keys = {36: "Kick", 38: "Snare", 42: "Closed Hat", **(names or {})}
    samples = [FontSample(name, hit(200 + 20 * key), root=key) for key, name in keys.items()]
    zones = [{KEYS: span(key, key), SAMPLE: index} for index, key in enumerate(keys)]
    return Font(samples, [zones], [FontPreset("Kit", [{INSTRUMENT: 0}], program=program)])


def with_zone(zone: Zone, *samples: FontSample, more: Sequence[Zone] = ()) -> Font:
    """`drum_font` with a crash (49) made of `zone` (and `more`), whose samples count from 0 among `samples`."""
    font = drum_font()
    offset = len(font.samples)
    zones = [{KEYS: span(49, 49), **one, SAMPLE: one.get(SAMPLE, 0) + offset} for one in (zone, *more)]
    linked = [
        FontSample(**{**vars(sample), "link": sample.link + offset if sample.kind & (LEFT | RIGHT) else 0})
        for sample in samples
    ]
    return Font([*font.samples, *linked], [[*font.instruments[0], *zones]], font.presets, font.info)


def write_hydrogen(folder: Path, instruments: str, *, licence: str = "<license>CC0</license>", xmlns: str = "") -> Path:
    """Write a `drumkit.xml` around the XML of its instruments."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "drumkit.xml").write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<drumkit_info{xmlns}><name>Test</name>{licence}'
        f"<instrumentList>{instruments}</instrumentList></drumkit_info>",
        encoding="utf-8",
    )
    return folder


def tone_kit(audio_of_note: Mapping[int, FloatArray], *, name: str = "test/Kit") -> Kit:
    """A kit of one layer a note; the sha256 is the note's number."""
    return Kit(
        name,
        {
            note: Sound(
                note, (Layer(Sample(f"tone {note}", audio, f"{note:064d}", "test", "not stated"), 1, 127, 1.0),)
            )
            for note, audio in audio_of_note.items()
        },
    )


def _levels(named: Sequence[tuple[str, Sequence[Zone]]], *, last: int) -> tuple[list[tuple[bytes, int]], bytes, bytes]:
    """Headers (name, first bag), bags and generators of one level, ended as the format demands."""
    headers, bags, generators = [], b"", b""
    n_bags = n_generators = 0
    for name, zones in named:
        headers.append((name.encode(), n_bags))
        for zone in zones:
            bags += struct.pack("<HH", n_generators, 0)
            n_bags += 1
            # Ranges come first and what the zone plays last.
            for operator in sorted(zone, key=lambda key: (key == last, key not in (KEYS, VELOCITIES))):
                generators += struct.pack("<HH", operator, zone[operator] & 0xFFFF)
                n_generators += 1
    headers.append((b"EO", n_bags))
    return headers, bags + struct.pack("<HH", n_generators, 0), generators + bytes(4)


def _chunk(name: str, data: bytes) -> bytes:
    return name.encode() + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
