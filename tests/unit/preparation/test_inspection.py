"""Inspecting rendered corpora: the healthy ones are fine, and each kind of damage is told."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus_builder import Take, build_egmd, grid, write_table
from fluidsynth import needs_fluidsynth
from numpy.typing import NDArray
from rendered_corpus import RATE, copy_of, later, read, render, write
from rich.console import Console

from drum_crnn.data.corpus import Corpus, Recording
from drum_crnn.music.midi import Note, read_midi
from drum_crnn.music.midi_writing import write_midi
from drum_crnn.preparation.inspection import Inspection, inspect_corpus, write_inspections
from drum_crnn.preparation.inspection_table import problem_lines, table_of_kits

Audio = NDArray[np.float64]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return render(tmp_path_factory.mktemp("healthy") / "corpus")


@pytest.fixture
def corpus(healthy: Corpus, tmp_path: Path) -> Corpus:
    return copy_of(healthy, tmp_path / "corpus")


def of(inspections: list[Inspection], recording: Recording) -> Inspection:
    (found,) = [one for one in inspections if one.recording == recording.id]
    return found


def wrong(inspections: list[Inspection]) -> list[Inspection]:
    return [one for one in inspections if one.verdict == "wrong"]


def test_a_rendered_corpus_of_several_kits_is_fine(healthy: Corpus) -> None:
    found = inspect_corpus(healthy)
    assert [one.line for one in found] == [recording.line for recording in healthy.recordings]
    assert [one.problems or one.remarks for one in found] == [""] * len(found)
    assert len({one.kit for one in found}) == 4
    assert {one.alignment for one in found} == {"aligned"}
    assert max(abs(one.offset_ms) for one in found if one.offset_ms is not None) < 3.0
    assert {(one.n_channels, one.sample_rate, one.bits) for one in found} == {(1, RATE, 16)}


@needs_fluidsynth
@pytest.mark.parametrize("variation", ["songs_loud", "songs_low", "stress"])
def test_a_rendered_corpus_with_bands_is_fine(tmp_path: Path, variation: str) -> None:
    found = inspect_corpus(render(tmp_path / "corpus", variation=variation))
    assert wrong(found) == []
    assert sum(one.alignment == "aligned" for one in found) >= 0.8 * len(found)


# ------------------------------------------------------------------------------------------------- misaligned audio


@pytest.mark.parametrize(
    ("later_s", "told"),
    [
        (0.025, "ms later"),
        (-0.025, "ms earlier"),
        (0.2, "200 ms later"),
        (-0.2, "200 ms earlier"),
        (3.0, "3.00 s later"),
        (-1.5, "1.50 s earlier"),
    ],
)
def test_audio_that_is_late_or_early_is_told(corpus: Corpus, later_s: float, told: str) -> None:
    moved = corpus.recordings[::3]
    for recording in moved:
        write(corpus, recording, later(read(corpus, recording), later_s))
    found = inspect_corpus(corpus)
    assert {one.recording for one in wrong(found)} == {recording.id for recording in moved}
    for recording in moved:
        one = of(found, recording)
        assert one.alignment == "misaligned"
        assert one.offset_ms == pytest.approx(1000 * later_s, abs=6.0)
        assert told in one.problems


def test_a_whole_kit_that_is_late_is_told(corpus: Corpus) -> None:
    kit = corpus.recordings[0].kit
    for recording in corpus.recordings:
        if recording.kit == kit:
            write(corpus, recording, later(read(corpus, recording), 0.04))
    found = inspect_corpus(corpus)
    assert {one.kit for one in wrong(found)} == {kit}
    assert all(one.alignment == "misaligned" for one in found if one.kit == kit)
    row = next(line for line in printed(found).splitlines() if kit[:16] in line).split()
    assert float(row[-3]) == pytest.approx(40, abs=5)


def test_kits_that_are_a_few_milliseconds_off_are_fine(corpus: Corpus) -> None:
    """As in E-GMD."""
    kits = sorted({recording.kit for recording in corpus.recordings})
    for recording in corpus.recordings:
        by_s = (-0.003, 0.0, 0.003, 0.005)[kits.index(recording.kit)]
        write(corpus, recording, later(read(corpus, recording), by_s))
    assert wrong(inspect_corpus(corpus)) == []


def test_audio_of_another_performance_is_told(corpus: Corpus) -> None:
    one = corpus.recordings[0]
    other = next(
        each
        for each in corpus.recordings
        if each.performance != one.performance and -0.4 < each.duration_s - one.duration_s < 4.0
    )
    write(corpus, one, read(corpus, other))
    (found,) = wrong(inspect_corpus(corpus))
    assert found.recording == one.id
    assert found.alignment == "other performance"
    assert "audio and notes belong to different performances" in found.problems
    assert found.offset_ms is None


def test_few_notes_do_not_tell(corpus: Corpus) -> None:
    recording = corpus.recordings[0]
    write_midi(corpus.root / recording.midi_path, read_midi(corpus.root / recording.midi_path)[:7])
    write(corpus, recording, later(read(corpus, recording), 0.2))
    one = of(inspect_corpus(corpus), recording)
    assert (one.verdict, one.alignment, one.offset_ms) == ("fine", "cannot tell", None)
    assert "has 7 notes: too few to tell" in one.remarks


# --------------------------------------------------------------------------------------------------- damaged audio


def silenced(audio: Audio) -> Audio:
    return np.zeros_like(audio)


def clipped(audio: Audio) -> Audio:
    return np.clip(6.0 * audio / np.abs(audio).max(), -0.99, 0.99)


def faint(audio: Audio) -> Audio:
    return 0.002 * audio / np.abs(audio).max()


def stopped(audio: Audio) -> Audio:
    return np.where(np.arange(len(audio)) < 0.5 * len(audio), audio, 0.0)


def with_a_hole(audio: Audio) -> Audio:
    place = np.arange(len(audio)) / len(audio)
    return np.where((place > 0.3) & (place < 0.6), 0.0, audio)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (silenced, "is silent from beginning to end, but has "),
        (clipped, "is clipped: "),
        (faint, "is almost silent: its peak is -5"),
        (stopped, "nothing sounds from "),
        (with_a_hole, "nothing sounds from "),
        (lambda audio: audio[: len(audio) // 2], "the audio lasts "),
        (lambda audio: np.concatenate([audio, np.zeros(9 * RATE)]), "the audio lasts "),
    ],
)
def test_damaged_sound_is_told(corpus: Corpus, damage: Callable[[Audio], Audio], told: str) -> None:
    recording = corpus.recordings[4]
    write(corpus, recording, damage(read(corpus, recording)))
    (one,) = wrong(inspect_corpus(corpus))
    assert one.recording == recording.id
    assert told in one.problems


def test_what_was_clipped_on_purpose_is_a_remark(corpus: Corpus) -> None:
    text = corpus.csv_path.read_text(encoding="utf-8")
    corpus.csv_path.write_text(text.replace(",plain\n", ",rough\n"), encoding="utf-8")
    recording = corpus.recordings[0]
    write(corpus, recording, clipped(read(corpus, recording)))
    one = of(inspect_corpus(Corpus.open(corpus.root)), recording)
    assert one.verdict == "fine"
    assert "is clipped" in one.remarks
    assert one.clipped_percent > 0.1


@pytest.mark.parametrize(("scale", "level"), [(20_000.0, "+8"), (1e30, "+59"), (9.5, "")])
def test_samples_of_another_scale_are_told_and_no_guesses_about_their_notes(
    corpus: Corpus, scale: float, level: str
) -> None:
    """Floats above full scale are common; in units of integers, they are not what training takes them for."""
    recording = corpus.recordings[2]
    audio = read(corpus, recording)
    write(corpus, recording, scale * audio / np.abs(audio).max(), subtype="FLOAT")
    one = of(inspect_corpus(corpus), recording)
    if level:
        assert one.problems.startswith(f"has samples far above full scale: its peak is {level}")
        assert one.problems.endswith("they may be integers written as floats; scale it to ±1, and check it again")
        assert (one.verdict, one.alignment, one.remarks) == ("wrong", "", "")
    else:
        assert (one.verdict, one.alignment) == ("fine", "aligned")


def test_formats_are_told(corpus: Corpus) -> None:
    eight, stereo, deep, fast = corpus.recordings[:4]
    write(corpus, eight, read(corpus, eight), subtype="PCM_U8")
    write(corpus, stereo, np.stack([read(corpus, stereo)] * 2, axis=1))
    write(corpus, deep, read(corpus, deep), subtype="PCM_24")
    soundfile.write(corpus.root / fast.audio_path, read(corpus, fast), 48_000)
    found = inspect_corpus(corpus)
    assert "has only 8 bits a sample" in of(found, eight).problems
    assert "has 2 channels; most recordings have 1" in of(found, stereo).remarks
    assert (of(found, deep).bits, of(found, deep).verdict) == (24, "fine")
    assert "the sample rate is 48000 Hz" in of(found, fast).problems
    assert {one.recording for one in wrong(found)} == {eight.id, fast.id}


@pytest.mark.parametrize(("suffix", "kept"), [(".flac", 0.6), (".flac", "flipped"), (".ogg", 0.6), (".mp3", 0.6)])
def test_damaged_compressed_audio_is_told(corpus: Corpus, suffix: str, kept: float | str) -> None:
    recording = corpus.recordings[0]
    wav = corpus.root / recording.audio_path
    path = wav.with_suffix(suffix)
    soundfile.write(path, read(corpus, recording), RATE)
    text = corpus.csv_path.read_text(encoding="utf-8")
    corpus.csv_path.write_text(text.replace(recording.audio_path, f"{recording.id}{suffix}"), encoding="utf-8")
    assert wrong(inspect_corpus(Corpus.open(corpus.root))) == []
    content = bytearray(path.read_bytes())
    if isinstance(kept, float):
        content = content[: round(kept * len(content))]
    else:
        content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    path.write_bytes(content)
    (one,) = wrong(inspect_corpus(Corpus.open(corpus.root)))
    assert one.recording == recording.id


def test_what_cannot_be_read_is_told_with_the_row(tmp_path: Path) -> None:
    rows = build_egmd(tmp_path, grid(n_performances=4, kits=["A"]))
    (tmp_path / rows[0]["audio_filename"]).unlink()
    (tmp_path / rows[1]["midi_filename"]).write_text("no MIDI")
    soundfile.write(tmp_path / rows[2]["audio_filename"], np.full(RATE, np.nan), RATE, "FLOAT")
    rows[3]["bpm"] = "fast"
    write_table(tmp_path / "e-gmd-v1.0.0.csv", rows)
    found = inspect_corpus(Corpus.open(tmp_path))
    for one, told in zip(found, ["no such file", "not a readable MIDI", "not finite", "'bpm'"], strict=True):
        assert (one.verdict, one.alignment) == ("wrong", "")
        assert told in one.problems
        assert str(tmp_path) not in one.problems
    assert "(line 5 of the table): 'bpm'" in problem_lines(found, "e-gmd-v1.0.0.csv")[-1]


# --------------------------------------------------------------------------------------------------------- reports


def printed(inspections: list[Inspection], *, width: int = 80) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(table_of_kits(inspections))
    return capture.get()


def test_processes_do_not_matter(healthy: Corpus) -> None:
    assert inspect_corpus(healthy, workers=2) == inspect_corpus(healthy, workers=1)


def test_a_sample_has_recordings_of_each_kit_evenly(tmp_path: Path) -> None:
    build_egmd(tmp_path, grid(n_performances=9, kits=["A", "B"]))
    corpus = Corpus.open(tmp_path)
    found = inspect_corpus(corpus, sample=3)
    performances = [recording.performance for recording in corpus.recordings[::2]]
    for kit in "AB":
        chosen = [one.line for one in found if one.kit == kit]
        of_line = {recording.line: recording.performance for recording in corpus.recordings}
        assert [performances.index(of_line[line]) for line in chosen] == [0, 4, 8]
    assert len(inspect_corpus(corpus, sample=100)) == 18


def test_a_recording_of_nothing_may_be_silent(tmp_path: Path) -> None:
    build_egmd(tmp_path, [Take(notes=())])
    (one,) = inspect_corpus(Corpus.open(tmp_path))
    assert (one.verdict, one.remarks, one.peak_dbfs) == ("fine", "is silent, and has no notes", None)


def test_recordings_without_audio_are_left_out(tmp_path: Path) -> None:
    rows = build_egmd(tmp_path, [Take(), Take(performance="drummer1/session1/2")])
    rows[0]["audio_filename"] = ""
    write_table(tmp_path / "e-gmd-v1.0.0.csv", rows)
    assert [one.line for one in inspect_corpus(Corpus.open(tmp_path))] == [3]


def test_the_csv_has_a_row_for_each_recording(healthy: Corpus, tmp_path: Path) -> None:
    found = inspect_corpus(healthy)
    write_inspections(tmp_path / "found.csv", found)
    with (tmp_path / "found.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["recording"] for row in rows] == [one.recording for one in found]
    assert {row["verdict"] for row in rows} == {"fine"}
    assert float(rows[0]["agreement"]) > 0.3


def test_the_table_counts_by_kit_and_fits_into_a_terminal(healthy: Corpus) -> None:
    found = inspect_corpus(healthy)
    found[0] = replace(found[0], verdict="wrong", problems="is silent")
    text = printed(found)
    assert max(map(len, text.splitlines())) <= 80
    header = next(line for line in text.splitlines() if "files" in line)
    assert "agree" in header
    row = next(line for line in text.splitlines() if found[0].kit[:16] in line).split()
    assert row[1:3] == [str(sum(one.kit == found[0].kit for one in found)), "1"]


def test_a_kit_that_remaps_its_notes_is_fine(corpus: Corpus) -> None:
    """As two of E-GMD's kits, which send all hi-hats to the tambourine."""
    kit = corpus.recordings[0].kit
    for recording in corpus.recordings:
        if recording.kit == kit:
            path = corpus.root / recording.midi_path
            notes = [
                Note(n.time_s, 54 if n.note in (22, 26, 42, 44, 46) else n.note, n.velocity) for n in read_midi(path)
            ]
            write_midi(path, notes)
    assert wrong(inspect_corpus(corpus)) == []
