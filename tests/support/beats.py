"""A plain beat."""

from drum_crnn.music.midi import Note


def beat(bpm: float, start_s: float, *, n_beats: int = 4, n_bars: int = 4) -> list[Note]:
    """Kick on one, snare on the other even beats, hi-hat in eighths."""
    step_s = 60.0 / bpm / 2
    notes = []
    for eighth in range(2 * n_beats * n_bars):
        time_s, place = start_s + eighth * step_s, eighth % (2 * n_beats)
        notes.append(Note(time_s, 42, 60))
        if place == 0:
            notes.append(Note(time_s, 36, 100))
        elif place % 4 == 2:
            notes.append(Note(time_s, 38, 100))
    return sorted(notes)
