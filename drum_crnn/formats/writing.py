"""Writing a transcription in any of the formats, whole or not at all."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
from numpy.typing import NDArray

from drum_crnn.formats.chart import chart_text, song_ini_text
from drum_crnn.formats.csv_file import csv_text
from drum_crnn.formats.jams_file import jams_text
from drum_crnn.formats.json_file import json_text
from drum_crnn.formats.midi_file import midi_bytes
from drum_crnn.formats.names import CHART
from drum_crnn.formats.note_maps import GENERAL_MIDI, NoteMap
from drum_crnn.formats.song import Song
from drum_crnn.formats.tablature import tablature_text
from drum_crnn.foundation.atomic import replace_directory, replace_file
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.audio import open_channels, probe, read_blocks
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.music.transcription import Transcription

__all__ = ["Style", "content_of", "write"]

# What the games read; any other recording becomes an OGG file.
_GAME_SUFFIXES = (".ogg", ".opus", ".mp3", ".wav")
_OGG_RATES = (44_100, 48_000)
_OGG_BLOCK = 65_536  # samples


@dataclass(frozen=True, slots=True)
class Style:
    """What the user chose for all recordings: the tempo map, if one is known, and the notes of MIDI files."""

    tempo_map: TempoMap | None = None
    note_map: NoteMap = GENERAL_MIDI


_Texts = dict[str, Callable[[Transcription, Song, Style], str]]
_TEXTS: _Texts = {
    "csv": lambda made, song, style: csv_text(made),
    "json": lambda made, song, style: json_text(made, song=song, tempo_map=style.tempo_map),
    "jams": lambda made, song, style: jams_text(made, song=song, tempo_map=style.tempo_map),
    "tab": lambda made, song, style: tablature_text(made, song=song, tempo_map=style.tempo_map),
}


def content_of(format_name: str, transcription: Transcription, *, song: Song, style: Style) -> bytes:
    """The bytes of a format that is one file; text is UTF-8 with Unix line ends."""
    if format_name == "midi":
        return midi_bytes(transcription, tempo_map=style.tempo_map, note_map=style.note_map)
    return _TEXTS[format_name](transcription, song, style).encode("utf-8")


def write(
    format_name: str, path: Path, transcription: Transcription, *, song: Song, style: Style, recording: Path
) -> None:
    """Write one format. `recording` is the audio that goes into a chart's folder.

    Raises
    ------
    DrumCrnnError
        If the file or folder cannot be written. What was there before is unchanged then.
    """
    if format_name == CHART:
        _write_chart(path, transcription, song=song, style=style, recording=recording)
        return
    content = content_of(format_name, transcription, song=song, style=style)
    with replace_file(path) as temporary:
        temporary.write_bytes(content)


def _write_chart(folder: Path, transcription: Transcription, *, song: Song, style: Style, recording: Path) -> None:
    """A new folder appears whole. In an old one, which may hold pictures and videos, each file is replaced."""
    suffix = recording.suffix.lower()
    audio = f"song{suffix if suffix in _GAME_SUFFIXES else '.ogg'}"
    chart = chart_text(transcription, song=song, audio=audio, tempo_map=style.tempo_map)
    ini = song_ini_text(transcription, song=song)

    def fill(audio_file: Path, ini_file: Path, chart_file: Path) -> None:
        _copy_audio(recording, audio_file)
        ini_file.write_text(ini, encoding="utf-8", newline="\n")
        chart_file.write_text(chart, encoding="utf-8", newline="\n")

    names = (audio, "song.ini", "notes.chart")
    if folder.is_dir():
        with ExitStack() as stack:
            fill(*(stack.enter_context(replace_file(folder / name)) for name in names))
    else:
        with replace_directory(folder) as temporary:
            fill(*(temporary / name for name in names))


def _copy_audio(recording: Path, target: Path) -> None:
    """The recording as it is if games read its format, else as OGG in blocks, since libsndfile fails on long ones."""
    if recording.suffix.lower() == target.suffix:
        shutil.copyfile(recording, target)
        return
    with (
        _ogg_source(recording) as (rate, n_channels, blocks),
        target.open("wb") as stream,  # soundfile fails on a name that is not UTF-8
        soundfile.SoundFile(stream, "w", rate, n_channels, format="OGG", subtype="VORBIS") as file,
    ):
        for block in blocks:
            for start in range(0, len(block), _OGG_BLOCK):
                file.write(block[start : start + _OGG_BLOCK])


@contextmanager
def _ogg_source(recording: Path) -> Iterator[tuple[int, int, Iterator[NDArray[Any]]]]:
    """Rate, channels and blocks: mono and stereo as they are, all else as the model hears it."""
    header = None
    with contextlib.suppress(DrumCrnnError):
        header = probe(recording)
    if header is not None and header.n_channels <= 2 and header.sample_rate in _OGG_RATES:
        with open_channels(recording) as (rate, blocks):
            yield rate, header.n_channels, blocks
    else:
        yield _OGG_RATES[0], 1, read_blocks(recording, sample_rate=_OGG_RATES[0])
