"""Making labels from MIDI.

In E-GMD, the MIDI of a recording is the performance as one kit's pad map changed it: some kits send tom rims to the
snare, two send every hi-hat note to 54. So all recordings of a performance are labelled by one *canonical* MIDI, which
most of its kits share. Where a recording's own MIDI disagrees, nobody knows what sounds. Ignore windows on the lanes of
both notes then exclude them from loss and scores for that recording. Where each recording's own MIDI is exact, as the
studio's is, set `labels.midi` to `own` to use it unchanged.

A recording's own MIDI may also be late or early as a whole (`alignment`). This offset is taken out before both are
compared. Where it is larger than a frame, the audio decides which of both it follows, and the recording is listed.

A note that nobody can hear counts neither as an onset nor as silence. The studio measures how audible each note is
(`drum_crnn.data.audibility`); for other corpora, only the velocity is known.

Every note is accounted for, under one of `REASONS`.
"""

import contextlib
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from drum_crnn.data.audibility import audibility_path, read_audibility
from drum_crnn.data.catalog import Catalog, CatalogEntry
from drum_crnn.data.label_problems import LabelProblem
from drum_crnn.data.labels import AccountRow, Labels
from drum_crnn.foundation.console import track, warn
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.params import ParamsSection
from drum_crnn.foundation.remembered import remembered
from drum_crnn.foundation.workers import worker_pool
from drum_crnn.music.lanes import LANE_OF_NOTE, LANES, UNMAPPED_NOTES
from drum_crnn.music.midi import Note, canonical_midi, read_midi
from drum_crnn.preparation.alignment import estimate_offset, moved
from drum_crnn.preparation.disagreement import judge_account, judge_offset, warn_of_kits

__all__ = ["REASONS", "LabelParams", "make_labels"]

# What becomes of a note of the canonical MIDI, in order of decision; "extra" counts the notes of a recording's own MIDI
# that match no canonical note.
REASONS: dict[str, str] = {
    "left_out": "is in a recording whose own MIDI is further off than labels.max_offset_s: left out",
    "after_end": "lies beyond the end of the recording: left out",
    "remapped": "has another lane in the recording's own MIDI: ignore windows on both lanes",
    "missing": "is missing in the recording's own MIDI: ignore window",
    "extra": "is only in the recording's own MIDI: ignore window",
    "no_lane": "is percussion of no lane, also in the recording's own MIDI: left out",
    "merged": "is closer than labels.merge_window_s to a louder note of its lane: left out",
    "inaudible": "is less audible than labels.min_audibility_db: ignore window",
    "soft": "is softer than labels.min_velocity: ignore window",
    "onset": "is an onset",
}

# A note and the same note in another kit's MIDI may be rounded to neighbouring ticks: at 480 a beat, and 60 beats a
# minute, these are 2.1 ms apart.
_MATCH_S = 0.0025
_NO_LANE = -1

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class LabelParams(ParamsSection):
    """How notes become onsets.

    Attributes
    ----------
    midi : str
        "own": each recording's own MIDI is exact, and gives its labels; "canonical": it may have been remapped, and the
        performance's canonical MIDI decides.
    merge_window_s : float
        Notes of one lane closer than this are one onset; the louder wins.
    min_velocity : int
        Softer notes are hardly audible: each becomes an ignore window, neither onset nor silence.
    min_audibility_db : float or None
        Notes less audible than this, in dB, become ignore windows as well, where audibility was measured.
    ignore_radius_s : float
        Half the length of an ignore window. Below `merge_window_s`, the window of a soft note covers no onset.
    max_offset_s : float
        With "canonical": recordings whose own MIDI is earlier or later by more than this are left out.
    """

    section: ClassVar[str] = "labels"

    midi: Literal["own", "canonical"]
    merge_window_s: Annotated[float, Field(gt=0.0, le=0.5)]
    min_velocity: Annotated[int, Field(ge=1, le=127)]
    min_audibility_db: Annotated[float, Field(ge=-100.0, le=60.0)] | None
    ignore_radius_s: Annotated[float, Field(gt=0.0, le=0.5)]
    max_offset_s: Annotated[float, Field(ge=0.0, le=10.0)]


def make_labels(
    root: Path, catalog: Catalog, params: LabelParams, *, workers: int = 1, memory: Path | None = None
) -> Labels:
    """Label every recording of the catalog, with a warning for each kit whose MIDI disagrees as a whole.

    Parameters
    ----------
    root : Path
        Directory of the corpus.
    workers : int
        Number of processes; the labels do not depend on it.
    memory : Path, optional
        A file that remembers the labels of each performance by what they depend on: the rows of its recordings in the
        catalog, with their checksums, the audibility of notes, params and code. So only what is new is labelled. Safe
        to delete.

    Raises
    ------
    DrumCrnnError
        If a MIDI file cannot be read, is not the one that the catalog describes, or holds a note that neither maps to
        a lane nor is one of those that are ignored.
    """
    groups = catalog.performances().values()
    if params.midi == "own" and (doubtful := _first_remapped(root, groups)):
        warn(
            f"labels.midi is own, but the recordings of '{doubtful}' have different MIDI files without measured "
            "audibility: if this is E-GMD, whose kits remap notes, set labels.midi to canonical"
        )
    label = partial(_label_performance, root, params)
    of_recording: dict[str, _RecordingLabels] = {}
    with contextlib.ExitStack() as stack:
        results = stack.enter_context(remembered(memory))
        keys = [results.key(*_dependencies(root, params, group)) for group in groups]
        new = []
        for key, group in zip(keys, groups, strict=True):
            if (known := results.get(key)) is None:
                new.append((key, group))
            else:
                of_recording.update(zip((entry.recording for entry in group), _unpack(known), strict=True))
        todo = [group for _, group in new]
        labelled: Iterable[list[tuple[str, _RecordingLabels]]] = map(label, todo)
        if workers > 1 and len(todo) > 1:
            labelled = stack.enter_context(worker_pool(workers)).map(label, todo, chunksize=4)
        for (key, _), each in zip(new, track(labelled, description="labelling", total=len(new)), strict=True):
            of_recording.update(each)
            results.put(key, _pack([labels for _, labels in each]))
    labels = _collect([(entry, of_recording[entry.recording]) for entry in catalog])
    warn_of_kits(labels)
    return labels


def _first_remapped(root: Path, groups: Iterable[Sequence[CatalogEntry]]) -> str | None:
    """The first performance whose recordings differ in their MIDI, if the studio did not render them."""
    for group in groups:
        if len({entry.midi_sha256 for entry in group}) > 1:
            is_measured = audibility_path(root / group[0].midi_path).is_file()
            return None if is_measured else group[0].performance
    return None


class _RecordingLabels(NamedTuple):
    """Labels of one recording; the arrays as in `Labels`."""

    time_s: FloatArray
    lane: NDArray[np.int8]
    velocity: NDArray[np.uint8]
    ignore_start_s: FloatArray
    ignore_end_s: FloatArray
    ignore_lane: NDArray[np.int8]
    account: Counter[tuple[str, int]]
    problem: LabelProblem | None = None


_ARRAYS = ("time_s", "lane", "velocity", "ignore_start_s", "ignore_end_s", "ignore_lane")


def _dependencies(root: Path, params: LabelParams, entries: Sequence[CatalogEntry]) -> list[str]:
    """What the labels of one performance depend on at most, besides the code."""
    found = [params.model_dump_json(), *map(repr, entries)]
    if params.midi == "own":
        audibilities = (audibility_path(root / entry.midi_path) for entry in entries)
        found += [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in audibilities]
    return found


def _pack(labels_of: Sequence[_RecordingLabels]) -> bytes:
    """The labels of one performance's recordings as bytes; what several share, once. Problems are each one's own."""
    distinct = list({id(labels.time_s): labels for labels in labels_of}.values())
    place_of = {id(labels.time_s): place for place, labels in enumerate(distinct)}
    accounts = [list(labels.account.items()) for labels in distinct]
    problems = [labels.problem and asdict(labels.problem) for labels in labels_of]
    arrays: dict[str, Any] = {name: np.concatenate([getattr(labels, name) for labels in distinct]) for name in _ARRAYS}
    arrays["places"] = [place_of[id(labels.time_s)] for labels in labels_of]
    arrays["lengths"] = [[len(getattr(labels, name)) for name in _ARRAYS] for labels in distinct]
    arrays["rest"] = np.frombuffer(json.dumps([accounts, problems]).encode(), np.uint8)
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _unpack(content: bytes) -> list[_RecordingLabels]:
    """What `_pack` has packed."""
    with np.load(io.BytesIO(content)) as file:
        cuts = np.cumsum(file["lengths"][:-1], axis=0)
        columns = [np.split(file[name], cuts[:, place]) for place, name in enumerate(_ARRAYS)]
        accounts, problems = json.loads(file["rest"].tobytes())
        counters = [Counter({(reason, note): count for (reason, note), count in account}) for account in accounts]
        distinct = [_RecordingLabels(*each) for each in zip(*columns, counters, strict=True)]
        return [
            distinct[place]._replace(problem=problem and LabelProblem(**problem))
            for place, problem in zip(file["places"], problems, strict=True)
        ]


def _label_performance(
    root: Path, params: LabelParams, entries: Sequence[CatalogEntry]
) -> list[tuple[str, _RecordingLabels]]:
    """Label the recordings of one performance. Most of its kits share one MIDI content, which is read once."""
    if params.midi == "own":
        return [(entry.recording, _label_own(root, entry, params)) for entry in entries]
    notes_of: dict[str, list[Note]] = {}
    for entry in entries:
        if entry.midi_sha256 not in notes_of:
            notes_of[entry.midi_sha256] = _read_notes(root / entry.midi_path, entry.midi_sha256)
    canonical = notes_of[entries[canonical_midi([notes_of[entry.midi_sha256] for entry in entries])].midi_sha256]
    offset_of = {sha256: estimate_offset(canonical, notes).offset_s for sha256, notes in notes_of.items()}
    known: dict[tuple[str, bool, int, int], _RecordingLabels] = {}
    labelled = []
    for entry in entries:
        own, offset_s = notes_of[entry.midi_sha256], offset_of[entry.midi_sha256]
        problem, is_late_too = judge_offset(root, entry, canonical, offset_s, params.max_offset_s)
        if problem is not None and problem.outcome == "left_out":
            account = Counter(("left_out", note.note) for note in canonical)
            labelled.append((entry.recording, _label([], [], params)._replace(account=account, problem=problem)))
            continue
        reference = moved(canonical, offset_s) if is_late_too else canonical
        reference_here = _until(reference, entry.duration_s)
        own_here = _until(own if is_late_too else moved(own, -offset_s), entry.duration_s)
        # Recordings of one content and nearly one length have the same labels.
        key = entry.midi_sha256, is_late_too, len(reference_here), len(own_here)
        if key not in known:
            known[key] = _label(reference_here, own_here, params, beyond_end=reference[len(reference_here) :])
        problem = problem or judge_account(entry, known[key].account)
        labelled.append((entry.recording, known[key]._replace(problem=problem)))
    return labelled


def _label_own(root: Path, entry: CatalogEntry, params: LabelParams) -> _RecordingLabels:
    """Label a recording by its own MIDI, and by the audibility of its notes if it is known."""
    midi = root / entry.midi_path
    notes = _read_notes(midi, entry.midi_sha256)
    audibility_db = None if params.min_audibility_db is None else read_audibility(midi, notes)
    here = _until(notes, entry.duration_s)
    return _label(here, here, params, beyond_end=notes[len(here) :], audibility_db=audibility_db)


def _read_notes(path: Path, sha256: str) -> list[Note]:
    notes = read_midi(path)
    unknown = sorted({note.note for note in notes} - LANE_OF_NOTE.keys() - UNMAPPED_NOTES.keys())
    if unknown:
        numbers = ", ".join(map(str, unknown))
        raise DrumCrnnError(
            f"{path}: note {numbers} belongs to no lane, and is not one of the notes that are ignored; "
            "add it to drum_crnn/music/lanes.py or remove the recording from the corpus"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise DrumCrnnError(
            f"{path}: is not the file that the catalog describes; if corpus.watch is a fingerprint, run "
            "`drum-crnn corpus scan`; then run `dvc repro catalog`"
        )
    return notes


def _until(notes: list[Note], end_s: float) -> list[Note]:
    """The notes before `end_s`; they are sorted by time."""
    n = len(notes)
    while n and notes[n - 1].time_s >= end_s:
        n -= 1
    return notes[:n]


def _label(
    canonical: Sequence[Note],
    own: Sequence[Note],
    params: LabelParams,
    *,
    beyond_end: Sequence[Note] = (),
    audibility_db: Sequence[float] | None = None,
) -> _RecordingLabels:
    account: Counter[tuple[str, int]] = Counter(("after_end", note.note) for note in beyond_end)
    agreed = list(canonical)
    doubtful: list[tuple[float, int]] = []  # times and lanes of ignore windows
    if own != canonical:
        agreed, disputed, unmatched = _compare(canonical, own)
        for note, counterpart in disputed:
            account["missing" if counterpart is None else "remapped", note.note] += 1
            doubtful.append((note.time_s, _lane(note)))
            if counterpart is not None:
                doubtful.append((counterpart.time_s, _lane(counterpart)))
        for note in unmatched:
            account["extra", note.note] += 1
            doubtful.append((note.time_s, _lane(note)))
    agreed_of = _by_lane(agreed)
    account.update(("no_lane", note.note) for note in agreed_of[_NO_LANE])
    hidden = set()
    if audibility_db is not None and params.min_audibility_db is not None:
        hidden = {note for note, db in zip(canonical, audibility_db, strict=False) if db < params.min_audibility_db}
    onsets: list[tuple[float, int, int]] = []
    for lane in range(len(LANES)):
        kept, merged = _merge(agreed_of[lane], params.merge_window_s)
        account.update(("merged", note.note) for note in merged)
        for note in kept:
            if note.velocity < params.min_velocity:
                account["soft", note.note] += 1
                doubtful.append((note.time_s, lane))
            elif note in hidden:
                account["inaudible", note.note] += 1
                doubtful.append((note.time_s, lane))
            else:
                account["onset", note.note] += 1
                onsets.append((note.time_s, lane, note.velocity))
    windows = _windows(doubtful, params.ignore_radius_s)
    onsets.sort()
    return _RecordingLabels(
        time_s=np.array([time_s for time_s, _, _ in onsets], dtype=np.float64),
        lane=np.array([lane for _, lane, _ in onsets], dtype=np.int8),
        velocity=np.array([velocity for _, _, velocity in onsets], dtype=np.uint8),
        ignore_start_s=np.array([start for start, _, _ in windows], dtype=np.float64),
        ignore_end_s=np.array([end for _, _, end in windows], dtype=np.float64),
        ignore_lane=np.array([lane for _, lane, _ in windows], dtype=np.int8),
        account=account,
    )


def _lane(note: Note) -> int:
    return LANE_OF_NOTE.get(note.note, _NO_LANE)


def _by_lane(notes: Iterable[Note]) -> dict[int, list[Note]]:
    """The notes of each lane, and of none, in their order."""
    found: dict[int, list[Note]] = {lane: [] for lane in range(_NO_LANE, len(LANES))}
    for note in notes:
        found[_lane(note)].append(note)
    return found


def _compare(
    canonical: Sequence[Note], own: Sequence[Note]
) -> tuple[list[Note], list[tuple[Note, Note | None]], list[Note]]:
    """Match the notes of two MIDI files one to one, within `_MATCH_S`.

    Notes of the same lane are matched first. The rest is then matched by time alone, since a pad map changes the number
    of a note and not its time.

    Returns
    -------
    agreed : list of Note
        Canonical notes whose lane is the same in both, in order of time.
    disputed : list of (Note, Note or None)
        The other canonical notes, each with its counterpart in `own`, if there is one.
    unmatched : list of Note
        Notes of `own` without a canonical counterpart.
    """
    agreed: list[Note] = []
    left: list[Note] = []
    left_own: list[Note] = []
    here, there = _by_lane(canonical), _by_lane(own)
    for lane in here:
        pairs, alone, alone_there = _pair(here[lane], there[lane])
        agreed.extend(note for note, _ in pairs)
        left.extend(alone)
        left_own.extend(alone_there)
    pairs, alone, unmatched = _pair(sorted(left), sorted(left_own))
    disputed: list[tuple[Note, Note | None]] = [*pairs, *((note, None) for note in alone)]
    return sorted(agreed), disputed, unmatched


def _pair(one: Sequence[Note], other: Sequence[Note]) -> tuple[list[tuple[Note, Note]], list[Note], list[Note]]:
    """As many pairs as possible of notes no further apart than `_MATCH_S`, and the unmatched notes of both.

    Both lists are sorted by time. Choosing the earliest possible partner each time is optimal, since all notes have the
    same tolerance.
    """
    pairs: list[tuple[Note, Note]] = []
    alone: list[Note] = []
    alone_other: list[Note] = []
    j = 0
    for note in one:
        while j < len(other) and other[j].time_s < note.time_s - _MATCH_S:
            alone_other.append(other[j])
            j += 1
        if j < len(other) and other[j].time_s <= note.time_s + _MATCH_S:
            pairs.append((note, other[j]))
            j += 1
        else:
            alone.append(note)
    alone_other.extend(other[j:])
    return pairs, alone, alone_other


def _merge(notes: Sequence[Note], window_s: float) -> tuple[list[Note], list[Note]]:
    """Notes of one lane that stay, in order of time, and those merged into a louder (or as loud, but earlier) one.

    The loudest note absorbs all that are closer than `window_s`, then the loudest of the rest, and so on. The notes
    that stay are at least `window_s` apart, and a crescendo roll is thinned, not reduced to one note.
    """
    times = np.array([note.time_s for note in notes], dtype=np.float64)
    gone = np.zeros(len(notes), dtype=np.bool_)
    kept: list[int] = []
    if len(notes) and np.diff(times).min(initial=np.inf) >= window_s:
        return list(notes), []
    for index in sorted(range(len(notes)), key=lambda i: (-notes[i].velocity, notes[i].time_s, i)):
        if gone[index]:
            continue
        kept.append(index)
        first = index
        while first > 0 and times[index] - times[first - 1] < window_s:
            first -= 1
        last = index
        while last + 1 < len(notes) and times[last + 1] - times[index] < window_s:
            last += 1
        gone[first : last + 1] = True
    stays = set(kept)
    return [notes[i] for i in sorted(stays)], [note for i, note in enumerate(notes) if i not in stays]


def _windows(doubtful: Sequence[tuple[float, int]], radius_s: float) -> list[tuple[float, int, float]]:
    """Start, lane and end of the windows around times; windows of one lane that touch are joined."""
    windows: list[tuple[float, int, float]] = []
    open_of_lane: dict[int, int] = {}
    for time_s, lane in sorted(doubtful):
        if lane == _NO_LANE:
            continue
        start, end = max(0.0, time_s - radius_s), time_s + radius_s
        index = open_of_lane.get(lane)
        if index is not None and start <= windows[index][2]:
            windows[index] = (windows[index][0], lane, end)
        else:
            open_of_lane[lane] = len(windows)
            windows.append((start, lane, end))
    return sorted(windows)


def _collect(of_entries: Sequence[tuple[CatalogEntry, _RecordingLabels]]) -> Labels:
    account: Counter[tuple[str, str, int]] = Counter()
    for entry, labels in of_entries:
        for (reason, note), count in labels.account.items():
            account[entry.kit, reason, note] += count
    order = list(REASONS)
    rows = [
        AccountRow(kit, reason, note, LANES[LANE_OF_NOTE[note]] if note in LANE_OF_NOTE else "", count)
        for (kit, reason, note), count in sorted(
            account.items(), key=lambda item: (item[0][0], order.index(item[0][1]), item[0][2])
        )
    ]
    problems = tuple(labels.problem for _, labels in of_entries if labels.problem is not None)
    left_out = {problem.recording for problem in problems if problem.outcome == "left_out"}
    labelled = [(entry.recording, labels) for entry, labels in of_entries if entry.recording not in left_out]

    def joined(field: str, dtype: type[np.generic]) -> NDArray[Any]:
        return np.concatenate([np.empty(0, dtype), *(getattr(labels, field) for _, labels in labelled)])

    def offset(field: str) -> IntArray:
        lengths = [len(getattr(labels, field)) for _, labels in labelled]
        return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)

    return Labels(
        recordings=tuple(recording for recording, _ in labelled),
        onset_offset=offset("time_s"),
        onset_time_s=joined("time_s", np.float64),
        onset_lane=joined("lane", np.int8),
        onset_velocity=joined("velocity", np.uint8),
        ignore_offset=offset("ignore_start_s"),
        ignore_start_s=joined("ignore_start_s", np.float64),
        ignore_end_s=joined("ignore_end_s", np.float64),
        ignore_lane=joined("ignore_lane", np.int8),
        accounting=tuple(rows),
        problems=problems,
    )
