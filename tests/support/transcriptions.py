"""Transcriptions for the tests of formats: a rock beat, anything at all, and one from a table."""

from collections.abc import Iterable

import numpy as np
from hypothesis import strategies as st

from drum_crnn.music.lanes import LANES
from drum_crnn.music.tempo_map import Signature, Tempo, TempoMap
from drum_crnn.music.transcription import Transcription

Row = tuple[float, str, int] | tuple[float, str, int, float]  # seconds, lane, velocity, confidence


def transcription(rows: Iterable[Row], *, duration_s: float | None = None) -> Transcription:
    """From rows in any order; without a confidence, it is 1."""
    table = sorted((time_s, LANES.index(lane), velocity, *rest) for time_s, lane, velocity, *rest in rows)
    return Transcription(
        np.array([row[0] for row in table]),
        np.array([row[1] for row in table], dtype=np.int64),
        np.array([row[2] for row in table], dtype=np.int64),
        np.array([row[3] if len(row) > 3 else 1.0 for row in table]),
        duration_s=duration_s if duration_s is not None else (table[-1][0] + 1.0 if table else 1.0),
    )


def rock_beat(bars: int, *, bpm: float = 120.0, start_s: float = 0.0) -> Transcription:
    """Eighths on the hi-hat, kick on one and three, snare on two and four, a crash on the first one."""
    beat_s = 60 / bpm
    rows: list[Row] = [(start_s, "crash", 110)]
    for bar in range(bars):
        for eighth in range(8):
            time_s = start_s + (4 * bar + eighth / 2) * beat_s
            rows.append((time_s, "hihat", 90 if eighth % 2 == 0 else 70))
            if eighth in (0, 4):
                rows.append((time_s, "kick", 100))
            if eighth in (2, 6):
                rows.append((time_s, "snare", 105))
    return transcription(rows)


@st.composite
def any_transcription(draw: st.DrawFn) -> Transcription:
    """Any onsets, each lane at most once a millisecond, within two minutes."""
    keys = draw(st.sets(st.tuples(st.integers(0, 120_000), st.sampled_from(LANES)), max_size=40))
    rows = [(time / 1000, lane, draw(st.integers(1, 127)), draw(st.floats(0.0, 1.0))) for time, lane in sorted(keys)]
    return transcription(rows, duration_s=120.0)


@st.composite
def any_tempo_map(draw: st.DrawFn) -> TempoMap:
    """Up to six tempos from 4 to 400 bpm, and up to three time signatures."""
    changes = sorted(draw(st.sets(st.integers(1, 120_000), max_size=5)))
    bars = sorted(draw(st.sets(st.integers(1, 120_000), max_size=2)))
    tempos = tuple(Tempo(time / 1000, draw(st.floats(4.0, 400.0))) for time in [0, *changes])
    signatures = tuple(
        Signature(time / 1000, draw(st.integers(1, 13)), draw(st.sampled_from([2, 4, 8]))) for time in [0, *bars]
    )
    return TempoMap(tempos, signatures)
