"""Tables and files of corpora: which are valid, and the message for each kind of damage."""

import struct
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from corpus_builder import BEAT, EGMD_HEADER, GROOVE_HEADER, Take, build_egmd, build_groove, clicks, grid, write_table

from drum_crnn.data.corpus import EGMD_COLUMNS, Corpus, CorpusParams, Recording
from drum_crnn.data.problems import Problem
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.midi import Note
from drum_crnn.music.midi_writing import write_midi
from drum_crnn.preparation.checking import MAX_RING_S, MAX_SHORTFALL_S, check_recordings, validate


def test_egmd_table_is_read(tmp_path: Path) -> None:
    build_egmd(tmp_path, [Take(style="funk/groove1", split="test", kit="Heavy Metal")])
    corpus = Corpus.open(tmp_path)
    stem = "drummer1/session1/1_funk-groove1_120_beat_4-4_1"
    assert corpus.problems == []
    assert corpus.csv_path == tmp_path / "e-gmd-v1.0.0.csv"
    assert corpus.recordings == [
        Recording(
            id=stem,
            performance="drummer1/session1/1",
            kit="Heavy Metal",
            drummer="drummer1",
            session="drummer1/session1",
            style="funk/groove1",
            bpm=120.0,
            beat_type="beat",
            time_signature="4-4",
            duration_s=1.0,
            split="test",
            midi_path=f"{stem}.midi",
            audio_path=f"{stem}.wav",
            condition="",
            line=2,
        )
    ]
    assert validate(corpus) == []


def test_the_columns_are_those_that_were_published() -> None:
    assert list(EGMD_COLUMNS) == EGMD_HEADER
    assert {*EGMD_COLUMNS} - {*GROOVE_HEADER} == {"kit_name"}


def test_groove_table_is_read_with_its_performances_without_audio(tmp_path: Path) -> None:
    rows = build_groove(tmp_path, [Take(), Take(performance="drummer1/session1/2")])
    rows[1]["audio_filename"] = ""
    write_table(tmp_path / "info.csv", rows, header=GROOVE_HEADER)
    corpus = Corpus.open(tmp_path)
    assert corpus.problems == []
    assert [recording.kit for recording in corpus.recordings] == ["Groove", "Groove"]
    assert corpus.recordings[1].audio_path == ""
    assert corpus.recordings[1].id == "drummer1/session1/2_rock_120_beat_4-4"
    assert [each.recording for each in check_recordings(corpus)] == corpus.recordings[:1]


def test_columns_are_found_by_name_whatever_their_order(tmp_path: Path) -> None:
    rows = build_egmd(tmp_path, grid(n_performances=2, kits=["A", "B"]))
    expected = Corpus.open(tmp_path).recordings
    write_table(tmp_path / "e-gmd-v1.0.0.csv", rows, header=[*reversed(EGMD_HEADER)])
    assert Corpus.open(tmp_path).recordings == expected
    text = (tmp_path / "e-gmd-v1.0.0.csv").read_text()
    (tmp_path / "e-gmd-v1.0.0.csv").write_bytes(
        b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    )  # as Excel has it
    assert Corpus.open(tmp_path).recordings == expected


def test_the_performance_repeats_across_kits_and_the_recording_does_not(tmp_path: Path) -> None:
    build_egmd(tmp_path, grid(n_performances=2, kits=["A", "B", "C"]))
    recordings = Corpus.open(tmp_path).recordings
    assert len({recording.performance for recording in recordings}) == 2
    assert len({recording.id for recording in recordings}) == 6


@pytest.mark.parametrize("column", [name for name in EGMD_HEADER if name != "kit_name"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    rows = build_egmd(tmp_path, [Take()])
    write_table(tmp_path / "e-gmd-v1.0.0.csv", rows, header=[name for name in EGMD_HEADER if name != column])
    with pytest.raises(DrumCrnnError, match=rf"e-gmd-v1\.0\.0\.csv:1: the header lacks '{column}'"):
        Corpus.open(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the table is empty"),
        (",".join(EGMD_HEADER).encode() + b"\n", "has no rows"),
        (",".join(EGMD_HEADER).encode() + b"\ncaf\xe9", "is not UTF-8"),
        (",".join(EGMD_HEADER).encode() + b"\n" + b"x" * 200_000, ":2: is not valid CSV"),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "e-gmd-v1.0.0.csv").write_bytes(content)
    with pytest.raises(DrumCrnnError, match=message):
        Corpus.open(tmp_path)


def test_which_table_is_read(tmp_path: Path) -> None:
    with pytest.raises(DrumCrnnError, match="nowhere: there is no such directory"):
        Corpus.open(tmp_path / "nowhere")
    with pytest.raises(DrumCrnnError, match="holds no table of recordings"):
        Corpus.open(tmp_path)
    build_egmd(tmp_path / "unpacked", [Take()], table="rendered.csv")
    root = tmp_path / "unpacked"
    assert Corpus.open(root).csv_path.name == "rendered.csv"
    (root / "kits.csv").write_text("sample,sha256\n")  # ignored: it names no audio
    assert Corpus.open(root).csv_path.name == "rendered.csv"
    (root / "copy.csv").write_bytes((root / "rendered.csv").read_bytes())
    with pytest.raises(DrumCrnnError, match=r"holds several tables \(copy.csv, rendered.csv\)"):
        Corpus.open(root)
    (root / "rendered.csv").rename(root / "e-gmd-v1.0.0.csv")
    assert Corpus.open(root).csv_path.name == "e-gmd-v1.0.0.csv"
    with pytest.raises(DrumCrnnError, match=r"did you mean .*unpacked"):
        Corpus.open(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (
            "audio_filename",
            "../elsewhere/1.wav",
            "'audio_filename' is '../elsewhere/1.wav', which may lead out of the corpus",
        ),
        (
            "audio_filename",
            "drummer1/../../1.wav",
            "'audio_filename' is 'drummer1/../../1.wav', which may lead out of the corpus",
        ),
        ("midi_filename", "../1.midi", "'midi_filename' is '../1.midi', which may lead out of the corpus"),
        ("audio_filename", "/etc/passwd", "'audio_filename' is the absolute path"),
        ("midi_filename", "C:/drums/1.midi", "'midi_filename' is the absolute path"),
        ("audio_filename", "drummer1\\1.wav", "with '/' between the parts"),
        ("audio_filename", "drummer1/1\x07.wav", "plain characters"),
        ("audio_filename", ".", "names no file"),
        ("midi_filename", "", "'midi_filename' is empty"),
        ("bpm", "fast", "'bpm' is 'fast', expected a number"),
        ("bpm", "0", "'bpm' is '0', expected more than 0"),
        ("duration", "nan", "'duration' is 'nan', expected a finite number"),
        ("duration", "", "'duration' is empty, expected a number"),
        ("split", "training", "'split' is 'training', expected train, validation, test or nothing"),
        ("id", "", "'id' is empty"),
        ("kit_name", "", "'kit_name' is empty"),
    ],
)
def test_a_bad_row_is_left_out_and_listed_by_line(tmp_path: Path, column: str, value: str, message: str) -> None:
    rows = build_egmd(tmp_path, grid(n_performances=3, kits=["A"]))
    rows[1][column] = value
    write_table(tmp_path / "e-gmd-v1.0.0.csv", rows)
    corpus = Corpus.open(tmp_path)
    assert [recording.line for recording in corpus.recordings] == [2, 4]
    (problem,) = corpus.problems
    assert (problem.file, problem.line) == ("e-gmd-v1.0.0.csv", 3)
    assert message in problem.what
    assert "line 3" in str(problem)
    assert problem in validate(corpus)


def test_rows_of_the_wrong_length_and_duplicates_are_listed(tmp_path: Path) -> None:
    rows = build_egmd(tmp_path, grid(n_performances=2, kits=["A"]))
    write_table(tmp_path / "e-gmd-v1.0.0.csv", [rows[0], rows[1], rows[0] | {"kit_name": "B"}])
    with (tmp_path / "e-gmd-v1.0.0.csv").open("a") as file:
        file.write("\ndrummer1,too,short\n")  # after a blank line, which is skipped
    corpus = Corpus.open(tmp_path)
    assert [recording.line for recording in corpus.recordings] == [2, 3]
    assert [(problem.line, problem.what) for problem in corpus.problems] == [
        (4, f"repeats the recording '{corpus.recordings[0].id}' of line 2"),
        (6, "has more or fewer fields than the header"),
    ]


def test_paths_that_differ_in_spelling_alone_are_duplicates(tmp_path: Path) -> None:
    rows = build_egmd(tmp_path, [Take()])
    spelt = rows[0] | {"audio_filename": "./" + rows[0]["audio_filename"].replace("/", "//")}
    write_table(tmp_path / "e-gmd-v1.0.0.csv", [rows[0], spelt])
    assert [problem.line for problem in Corpus.open(tmp_path).problems] == [3]


def damaged(root: Path, damage: str) -> tuple[str, str]:
    """Damage the second of three recordings; returns the file and words of the problem to expect."""
    takes = grid(n_performances=3, kits=["A"])
    rows = build_egmd(root, takes)
    audio, midi = rows[1]["audio_filename"], rows[1]["midi_filename"]
    wav = root / audio
    match damage:
        case "no audio":
            wav.unlink()
            return audio, "there is no such file"
        case "a directory":
            wav.unlink()
            wav.mkdir()
            return audio, "is a device or a folder"
        case "empty":
            wav.write_bytes(b"")
            return audio, "is empty (0 bytes)"
        case "text":
            wav.write_text("This is no sound.\n")
            return audio, "not a readable recording"
        case "no samples":
            soundfile.write(wav, clicks(takes[1])[:0], 44_100)
            return audio, "holds no audio (length zero)"
        case "header cut":
            wav.write_bytes(wav.read_bytes()[:20])
            return audio, "not a readable recording"
        case "end cut":
            wav.write_bytes(wav.read_bytes()[:-100])
            return audio, "cut short: 100 bytes are missing"
        case "rate":
            soundfile.write(wav, clicks(replace(takes[1], sample_rate=48_000)), 48_000)
            return audio, "the sample rate is 48000 Hz; expected 44100 Hz"
        case "short":
            soundfile.write(wav, clicks(takes[1])[: round(0.45 * 44_100)], 44_100)
            return audio, "the audio lasts 0.45 s, but the table says 1.00 s"
        case "long":
            soundfile.write(wav, clicks(replace(takes[1], duration_s=6.5)), 44_100)
            return audio, "the audio lasts 6.50 s, but the table says 1.00 s"
        case "no midi":
            (root / midi).unlink()
            return midi, "there is no such file"
        case "broken midi":
            (root / midi).write_bytes(b"MThd\x00\x00")
            return midi, "not a readable MIDI file"
        case "empty midi":
            (root / midi).write_bytes(b"")
            return midi, "not a readable MIDI file"
        case "unknown note":
            write_midi(root / midi, [*BEAT, Note(0.6, 99, 50), Note(0.9, 99, 50)])
            return midi, "note 99 (first at 0.600 s) belongs to no lane"
    raise AssertionError(damage)


DAMAGES = [
    "no audio",
    "a directory",
    "empty",
    "text",
    "no samples",
    "header cut",
    "end cut",
    "rate",
    "short",
    "long",
    "no midi",
    "broken midi",
    "empty midi",
    "unknown note",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_found_once_and_named(tmp_path: Path, damage: str) -> None:
    file, words = damaged(tmp_path, damage)
    corpus = Corpus.open(tmp_path)
    assert corpus.problems == []  # the table itself is valid
    (problem,) = validate(corpus)
    assert (problem.file, problem.line) == (file, 3)
    assert words in problem.what
    assert str(tmp_path) not in problem.what
    checked = check_recordings(corpus)
    assert [each.audio is None for each in checked] == [False, True, False]


@pytest.mark.parametrize("place", ["folder", "file"])
@pytest.mark.parametrize(("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_in_another_unicode_form_get_a_hint(tmp_path: Path, place: str, on_disk: str, in_table: str) -> None:
    """They look the same; macOS writes NFD, and unpacked archives keep it."""
    rows = build_egmd(tmp_path, grid(n_performances=2, kits=["A"]))
    for column in ("audio_filename", "midi_filename"):
        old = Path(rows[0][column])
        new = old.with_name(f"Café_{old.name}") if place == "file" else Path("Café", *old.parts[1:])
        path = tmp_path / unicodedata.normalize(on_disk, str(new))
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / old).rename(path)
        rows[0][column] = unicodedata.normalize(in_table, new.as_posix())
    write_table(tmp_path / "e-gmd-v1.0.0.csv", rows)
    problems = validate(Corpus.open(tmp_path))
    assert len(problems) == 2
    for problem in problems:
        assert "there is no such file; 'Caf" in problem.what
        assert f"looks the same, but is in another Unicode form ({on_disk}; the table has {in_table})" in problem.what
    names = {unicodedata.normalize(on_disk, str(path)) for path in tmp_path.rglob("Caf*")}
    assert names == {str(path) for path in tmp_path.rglob("Caf*")}  # the disk has kept the form


def test_a_missing_name_that_resembles_none_gets_no_hint(tmp_path: Path) -> None:
    rows = build_egmd(tmp_path, grid(n_performances=2, kits=["A"]))
    rows[0]["audio_filename"] = "drummer1/session1/Café.wav"
    write_table(tmp_path / "e-gmd-v1.0.0.csv", rows)
    (problem,) = validate(Corpus.open(tmp_path))
    assert problem.what == "there is no such file"


@pytest.mark.parametrize("name", ["a.flac", "a.wav"])
def test_damaged_flac_is_found_behind_its_intact_header(tmp_path: Path, name: str) -> None:
    """Its samples are plain integers, but compressed; the name does not tell."""
    rows = build_egmd(tmp_path, [Take()])
    wav = tmp_path / rows[0]["audio_filename"]
    audio, rate = soundfile.read(wav)
    rows[0]["audio_filename"] = name
    soundfile.write(tmp_path / name, audio, rate, format="FLAC")
    write_table(tmp_path / "e-gmd-v1.0.0.csv", rows)
    assert validate(Corpus.open(tmp_path)) == []
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2 : len(content) // 2 + 30] = bytes(30)
    (tmp_path / name).write_bytes(content)
    (problem,) = validate(Corpus.open(tmp_path))
    assert problem.file == name
    assert "cannot be decoded to its end" in problem.what


def test_notes_known_to_belong_to_no_lane_are_no_problem(tmp_path: Path) -> None:
    build_egmd(tmp_path, [Take(notes=(*BEAT, Note(0.6, 39, 50), Note(0.7, 54, 50), Note(0.8, 56, 50)))])
    assert validate(Corpus.open(tmp_path)) == []


def test_a_recording_may_ring_on_but_not_end_early(tmp_path: Path) -> None:
    rows = build_egmd(tmp_path, grid(n_performances=2, kits=["A"]))
    soundfile.write(tmp_path / rows[0]["audio_filename"], [0.0] * round((1.001 - MAX_SHORTFALL_S) * 44_100), 44_100)
    soundfile.write(tmp_path / rows[1]["audio_filename"], [0.0] * round((0.999 + MAX_RING_S) * 44_100), 44_100)
    assert validate(Corpus.open(tmp_path)) == []


def test_a_wav_with_other_chunks_or_of_unknown_length_is_whole(tmp_path: Path) -> None:
    rows = build_egmd(tmp_path, grid(n_performances=2, kits=["A"]))
    wav = tmp_path / rows[0]["audio_filename"]
    content = wav.read_bytes()
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\x00"  # padded to an even length, which the size does not count
    wav.write_bytes(content[:36] + odd + content[36:])
    streamed = tmp_path / rows[1]["audio_filename"]
    content = streamed.read_bytes()
    assert content[36:40] == b"data"
    streamed.write_bytes(content[:40] + b"\xff\xff\xff\xff" + content[44:])
    assert validate(Corpus.open(tmp_path)) == []


def test_the_rate_asked_for_decides(tmp_path: Path) -> None:
    build_egmd(tmp_path, [Take(sample_rate=48_000)])
    assert validate(Corpus.open(tmp_path), sample_rate=48_000) == []
    assert len(validate(Corpus.open(tmp_path), sample_rate=44_100)) == 1


def test_several_processes_find_the_same(tmp_path: Path) -> None:
    damaged(tmp_path, "unknown note")
    corpus = Corpus.open(tmp_path)
    assert check_recordings(corpus, workers=2) == check_recordings(corpus, workers=1)


def test_problems_are_listed_in_the_order_of_the_table(tmp_path: Path) -> None:
    rows = build_egmd(tmp_path, grid(n_performances=4, kits=["A"]))
    (tmp_path / rows[0]["midi_filename"]).unlink()
    (tmp_path / rows[0]["audio_filename"]).unlink()
    (tmp_path / rows[3]["audio_filename"]).unlink()
    rows[2]["bpm"] = "?"
    write_table(tmp_path / "e-gmd-v1.0.0.csv", rows)
    problems = validate(Corpus.open(tmp_path))
    assert [problem.line for problem in problems] == [2, 2, 4, 5]
    assert isinstance(problems[2], Problem)
    assert problems[2].file == "e-gmd-v1.0.0.csv"


def test_params_are_strict(tmp_path: Path) -> None:
    params = CorpusParams.check(
        {"root": "data/rendered", "watch": "data/rendered", "max_broken_fraction": 0.01}, source="params.yaml"
    )
    assert params.root == Path("data/rendered")
    with pytest.raises(DrumCrnnError, match=r"corpus\.max_broken_fraction"):
        CorpusParams.check({"root": "a", "watch": "a", "max_broken_fraction": 1.5}, source="params.yaml")
