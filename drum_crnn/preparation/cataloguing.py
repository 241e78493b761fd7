"""Making the catalog of a corpus: check every recording, and hash the files of the intact ones."""

import json
import os
import posixpath
from collections.abc import Container
from dataclasses import astuple
from pathlib import Path

from drum_crnn.data.catalog import Catalog, CatalogEntry
from drum_crnn.data.corpus import SAMPLE_RATE, Corpus, CorpusParams
from drum_crnn.data.problems import Problem
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.remembered import Remembered, remembered
from drum_crnn.music.audio import AudioInfo
from drum_crnn.preparation.checking import CheckedRecording, check_recordings
from drum_crnn.preparation.fingerprint import FileState, Fingerprint, hash_files

__all__ = ["build_catalog"]

_N_SHOWN = 5  # problems listed when too many stop the run


def build_catalog(
    corpus: Corpus,
    watch: Path,
    params: CorpusParams,
    *,
    sample_rate: int = SAMPLE_RATE,
    workers: int = 1,
    memory: Path | None = None,
) -> Catalog:
    """Check every recording of a corpus, and list the intact ones with the checksums of their files.

    Recordings for which the table names no audio (some of Groove's) are listed among the problems as well. They do not
    count as broken, since they were published so.

    Parameters
    ----------
    watch : Path
        What DVC watches: the corpus's directory, whose files are then hashed here, or the fingerprint that
        `drum-crnn corpus scan` wrote, whose checksums are then used.
    sample_rate : int
        The rate that every recording must have, in Hz.
    workers : int
        Number of processes; the catalog does not depend on it.
    memory : Path, optional
        A file that remembers which contents are in order, by their checksums in the fingerprint. So only what is new is
        opened. Safe to delete.

    Raises
    ------
    DrumCrnnError
        If more than `params.max_broken_fraction` of the recordings are broken, if none is left, or if the fingerprint
        is missing, stale or of another corpus.
    """
    known = None if watch.is_dir() else _checked_fingerprint(corpus, watch)
    if known is None and watch.resolve() != corpus.root.resolve():
        raise DrumCrnnError(
            f"{watch}: corpus.watch is a directory other than the corpus {corpus.root}; set it to the corpus itself, "
            f"or to the fingerprint file that `drum-crnn corpus scan {corpus.root}` writes"
        )
    if known is None:
        checked = check_recordings(corpus, sample_rate=sample_rate, workers=workers)
    else:
        with remembered(memory) as results:
            seen = _intact_before(corpus, known, results)
            checked = check_recordings(corpus, sample_rate=sample_rate, workers=workers, intact=seen)
            scanned_ns = watch.stat().st_mtime_ns
            _remember(corpus, checked, known, results, scanned_ns=scanned_ns, except_for=seen)
    broken = sorted([*corpus.problems, *(problem for each in checked for problem in each.problems)], key=_by_line)
    _stop_if_too_many(corpus, broken, n_recordings=len(checked) + len(corpus.problems), params=params)
    silent = [
        Problem(recording.midi_path, recording.line, "the table names no audio for this performance")
        for recording in corpus.recordings
        if not recording.audio_path
    ]
    intact = [each for each in checked if not each.problems]
    if not intact:
        raise DrumCrnnError(
            f"{corpus.csv_path}: no recording with audio is left; if the corpus has only MIDI, render it first"
        )
    states = _hash(corpus, intact) if known is None else _look_up(corpus, intact, known, watch)
    entries = sorted((_entry(each, states) for each in intact), key=lambda entry: entry.recording)
    return Catalog(tuple(entries), tuple(sorted([*broken, *silent], key=_by_line)))


def _by_line(problem: Problem) -> tuple[int, str, str]:
    return problem.line, problem.file, problem.what


def _stop_if_too_many(corpus: Corpus, broken: list[Problem], *, n_recordings: int, params: CorpusParams) -> None:
    n_broken = len({problem.line for problem in broken})
    if n_broken <= params.max_broken_fraction * n_recordings:
        return
    shown = [f"  {problem}" for problem in broken[:_N_SHOWN]]
    more = [f"  and {len(broken) - _N_SHOWN} more"] if len(broken) > _N_SHOWN else []
    raise DrumCrnnError(
        f"{corpus.csv_path}: {n_broken} of {n_recordings} recordings are broken, more than corpus.max_broken_fraction "
        f"({params.max_broken_fraction:g}) allows; repair them or raise it:",
        *shown,
        *more,
    )


def _checked_fingerprint(corpus: Corpus, watch: Path) -> Fingerprint:
    """The fingerprint in the file `watch`, which must be that of this corpus's table."""
    fingerprint = Fingerprint.read(watch)
    name = corpus.csv_path.name
    ((_, sha256),) = hash_files(corpus.root, [name], description="reading the table")
    if name not in fingerprint.files or fingerprint.files[name].sha256 != sha256:
        raise _stale_error(corpus, watch, f"belongs to another corpus, or to an earlier state of {corpus.csv_path}")
    return fingerprint


def _look_up(
    corpus: Corpus, intact: list[CheckedRecording], fingerprint: Fingerprint, watch: Path
) -> dict[str, FileState]:
    for name in _files_of(intact):
        state = fingerprint.files.get(name)
        if state is None:
            raise _stale_error(corpus, watch, f"lacks {name}")
        on_disk = _stat(corpus, name)
        n_bytes = on_disk.st_size if on_disk else 0
        if n_bytes != state.n_bytes:
            raise _stale_error(corpus, watch, f"has {name} with {state.n_bytes} bytes, but the file has {n_bytes} now")
    return fingerprint.files


def _stale_error(corpus: Corpus, watch: Path, what: str) -> DrumCrnnError:
    return DrumCrnnError(f"{watch}: this fingerprint {what}; run `drum-crnn corpus scan {corpus.root}`")


def _intact_before(corpus: Corpus, known: Fingerprint, results: Remembered) -> dict[str, AudioInfo | None]:
    """The files whose content, by the fingerprint, was in order before: audio with its header, MIDI with None."""
    found: dict[str, AudioInfo | None] = {}
    for name in {name for each in corpus.recordings for name in (each.audio_path, each.midi_path)}:
        if (state := known.files.get(name)) is None or (result := results.get(_key(results, name, state))) is None:
            continue
        on_disk = _stat(corpus, name)
        if on_disk is not None and on_disk.st_size == state.n_bytes:
            found[name] = AudioInfo(*json.loads(result)) if result else None
    return found


def _remember(
    corpus: Corpus,
    checked: list[CheckedRecording],
    known: Fingerprint,
    results: Remembered,
    *,
    scanned_ns: int,
    except_for: Container[str],
) -> None:
    """Remember the contents that are in order, unless a file may have changed since its checksum was taken.

    A change that times and sizes hide would not stay unnoticed: later stages compare what they read with the catalog.
    """
    for each in checked:
        if each.audio is None:
            continue
        audio, midi = (each.recording.audio_path, json.dumps(astuple(each.audio))), (each.recording.midi_path, "")
        for name, result in (audio, midi):
            if name in except_for or (state := known.files.get(name)) is None:
                continue
            on_disk = _stat(corpus, name)
            if on_disk and on_disk.st_size == state.n_bytes and on_disk.st_mtime_ns < scanned_ns:
                results.put(_key(results, name, state), result.encode())


def _key(results: Remembered, name: str, state: FileState) -> bytes:
    return results.key(state.sha256, posixpath.splitext(name)[1])  # by its suffix alone, `.raw` is refused


def _stat(corpus: Corpus, name: str) -> os.stat_result | None:
    """Size and times of a file; None if it cannot be found."""
    try:
        return os.stat(f"{corpus.root}/{name}")  # noqa: PTH116  # building 90,000 paths takes a second
    except OSError:
        return None


def _hash(corpus: Corpus, intact: list[CheckedRecording]) -> dict[str, FileState]:
    checksums = hash_files(corpus.root, _files_of(intact), description="hashing the corpus")
    return {name: FileState((corpus.root / name).stat().st_size, sha256) for name, sha256 in checksums}


def _files_of(intact: list[CheckedRecording]) -> list[str]:
    """Audio and MIDI files of the recordings, each once: several recordings may share a MIDI file."""
    names = {each.recording.audio_path for each in intact} | {each.recording.midi_path for each in intact}
    return sorted(names)


def _entry(checked: CheckedRecording, states: dict[str, FileState]) -> CatalogEntry:
    recording, info = checked.recording, checked.audio
    assert info is not None, "a recording without problems has an audio header"
    audio, midi = states[recording.audio_path], states[recording.midi_path]
    return CatalogEntry(
        recording=recording.id,
        performance=recording.performance,
        kit=recording.kit,
        drummer=recording.drummer,
        session=recording.session,
        style=recording.style,
        bpm=recording.bpm,
        beat_type=recording.beat_type,
        time_signature=recording.time_signature,
        split=recording.split,
        condition=recording.condition,
        audio_path=recording.audio_path,
        midi_path=recording.midi_path,
        n_samples=info.n_samples,
        sample_rate=info.sample_rate,
        audio_bytes=audio.n_bytes,
        audio_sha256=audio.sha256,
        midi_bytes=midi.n_bytes,
        midi_sha256=midi.sha256,
    )
