"""Charts for Clone Hero and YARG: the text of `notes.chart` and `song.ini`.

References
----------
The numbers are those of the documentation in TheNathannator/GuitarGame_ChartFormats: pages "Drums in .chart", ".chart
format overview" and "song.ini".
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from drum_crnn.formats.drum_part import BLUE, GREEN, KICK, RED, YELLOW, Chord, drum_parts
from drum_crnn.formats.dynamics import ACCENT, GHOST
from drum_crnn.formats.song import Song
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.music.ticks import Timeline, resolution_for
from drum_crnn.music.transcription import Transcription

__all__ = ["chart_text", "song_ini_text"]

_NOTE = {KICK: 0, RED: 1, YELLOW: 2, BLUE: 3, GREEN: 4}
_OPTIONAL_KICK = 32
_ACCENT = {RED: 34, YELLOW: 35, BLUE: 36, GREEN: 37}
_GHOST = {RED: 40, YELLOW: 41, BLUE: 42, GREEN: 43}
_CYMBAL = {YELLOW: 66, BLUE: 67, GREEN: 68}

_CHARTER = "drum_crnn"
_HARDEST = 6


def chart_text(transcription: Transcription, *, song: Song, audio: str = "", tempo_map: TempoMap | None = None) -> str:
    """`notes.chart` with Pro Drums in four difficulties.

    Parameters
    ----------
    audio : str
        The name of the audio file beside the chart, or empty.
    tempo_map : TempoMap, optional
        By default 120 bpm in 4/4.

    Raises
    ------
    ValueError
        If a tempo is below 0.001 bpm, which the format cannot hold.
    """
    laid = tempo_map or TempoMap.constant()
    timeline = Timeline.of(laid, resolution=resolution_for(laid), rounded=_rounded)
    names = {"Name": song.title, "Artist": song.artist, "Charter": _CHARTER}
    head = [f'{key} = "{_quotable(value)}"' for key, value in names.items() if value]
    head += [f"Resolution = {timeline.resolution}", "Offset = 0"]
    if audio:
        head.append(f'MusicStream = "{_quotable(audio)}"')
    sync = sorted(
        [
            (tick, 0, f"TS {numerator} {denominator.bit_length() - 1}")
            for tick, numerator, denominator in timeline.signatures
        ]
        + [(tick, 1, f"B {_thousandths(beat_s)}") for tick, beat_s in timeline.tempos]
    )
    sections = [("Song", head), ("SyncTrack", [f"{tick} = {event}" for tick, _, event in sync]), ("Events", [])]
    for difficulty, chords in drum_parts(transcription, tempo_map=tempo_map).items():
        sections.append((f"{difficulty}Drums", _notes(chords, timeline)))
    return "".join(_section(name, lines) for name, lines in sections)


def song_ini_text(transcription: Transcription, *, song: Song) -> str:
    """`song.ini`: the names, the length, and an estimate of the difficulty from 0 to 6."""
    difficulty = _difficulty(transcription)
    values = {
        "name": song.title,
        "artist": song.artist or "Unknown Artist",
        "charter": _CHARTER,
        "song_length": round(transcription.duration_s * 1000),
        "diff_drums": difficulty,
        "diff_drums_real": difficulty,
        "pro_drums": "True",
    }
    return "[song]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())


def _rounded(bpm: float) -> Fraction:
    """The format holds whole thousandths of a beat a minute."""
    thousandths = round(bpm * 1000)
    if thousandths < 1:
        raise ValueError(f"the tempo is {bpm} bpm; a chart allows 0.001 and more")
    return Fraction(60_000, thousandths)


def _thousandths(beat_s: Fraction) -> int:
    return int(Fraction(60_000) / beat_s)


def _notes(chords: Sequence[Chord], timeline: Timeline) -> list[str]:
    ticks = timeline.ticks_of([chord.time_s for chord in chords]).tolist()
    events = sorted({(tick, number) for tick, chord in zip(ticks, chords, strict=True) for number in _numbers(chord)})
    return [f"{tick} = N {number} 0" for tick, number in events]


def _numbers(chord: Chord) -> Iterable[int]:
    """The notes and the modifiers of a chord."""
    if chord.kick:
        yield _OPTIONAL_KICK if chord.is_optional_kick else _NOTE[KICK]
    for gem in chord.hands:
        yield _NOTE[gem.colour]
        if gem.is_cymbal:
            yield _CYMBAL[gem.colour]
        if gem.dynamic in (ACCENT, GHOST):
            yield (_ACCENT if gem.dynamic == ACCENT else _GHOST)[gem.colour]


def _section(name: str, lines: Sequence[str]) -> str:
    return f"[{name}]\n{{\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


def _quotable(text: str) -> str:
    """The format has no way to write a quotation mark inside quotation marks."""
    return text.replace('"', "'")


def _difficulty(transcription: Transcription) -> int:
    """Strokes a second, where the playing is not silent: 2 are easy, 12 are as hard as it gets."""
    seconds = len(set(transcription.time_s.astype(int).tolist()))
    return min(_HARDEST, round(len(transcription) / seconds / 2)) if seconds else 0
