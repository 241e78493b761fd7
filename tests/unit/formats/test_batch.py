"""Many recordings in one go: each is finished beside the next one, and nothing else changes.

`test_transcribe_command.py` has the rest.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits
from transcriptions import rock_beat

from drum_crnn.formats.batch import Done, Progress, run_batch
from drum_crnn.formats.plan import STREAM, Job, Output
from drum_crnn.formats.writing import Style
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.music.transcription import Transcription

BEAT = rock_beat(2)
LONG_S = 60.0  # before a test gives up
NAMES = "abcd"


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def run(
    transcribe: Callable[[str], None] = lambda name: None,
    lay_bars: Callable[[str], None] = lambda name: None,
    *,
    outputs: dict[str, Path] | None = None,
) -> tuple[list[Done], list[str]]:
    """Recordings that are called by letters. What is heard in each is as long as its place in the alphabet says."""
    jobs = [Job(Path(name), (Output("midi", (outputs or {}).get(name, Path(f"{name}.mid"))),)) for name in NAMES]

    def transcribed(recording: Path, progress: Progress) -> Transcription:
        transcribe(recording.name)
        return replace(BEAT, duration_s=float(NAMES.index(recording.name) + 10))

    def barred(made: Transcription) -> tuple[TempoMap | None, str]:
        name = NAMES[round(made.duration_s) - 10]
        lay_bars(name)
        return None, f"bars of {name}"

    return run_batch(jobs, transcribed, style=Style(), lay_bars=barred)


def test_a_recording_is_finished_while_the_next_one_is_transcribed() -> None:
    begun = {name: threading.Event() for name in NAMES}
    finished: list[str] = []

    def transcribe(name: str) -> None:
        begun[name].set()
        before = NAMES[: max(NAMES.index(name) - 1, 0)]
        assert finished[: len(before)] == list(before), "more than one recording waits to be finished"

    def lay_bars(name: str) -> None:
        following = NAMES[NAMES.index(name) + 1 :][:1]
        assert all(begun[one].wait(LONG_S) for one in following), "the next recording waits for this one"
        finished.append(name)

    done, problems = run(transcribe, lay_bars)
    assert not problems
    assert [(one.job.recording.name, one.tempo) for one in done] == [(name, f"bars of {name}") for name in NAMES]
    assert all(Path(f"{name}.mid").is_file() for name in NAMES)


def test_problems_come_in_the_order_of_the_recordings_wherever_they_happen() -> None:
    heard = threading.Event()

    def transcribe(name: str) -> None:
        if name == "b":
            heard.set()
            raise DrumCrnnError("b: cannot be heard")

    def lay_bars(name: str) -> None:
        if name == "a":
            assert heard.wait(LONG_S)
            raise OSError(5, "Input/output error", "a.mid")
        if name == "d":
            raise DrumCrnnError("d: has no bars")

    done, problems = run(transcribe, lay_bars)
    assert [one.job.recording.name for one in done] == ["c"]
    assert problems[0].startswith("a.mid: cannot be written: Input/output error")
    assert problems[1:] == ["b: cannot be heard", "d: has no bars"]


@pytest.mark.parametrize(("step", "name", "written"), [("transcribe", "b", "a"), ("lay_bars", "d", "abc")])
def test_ctrl_c_ends_the_batch_and_leaves_whole_outputs(step: str, name: str, written: str) -> None:
    def interrupt(current: str) -> None:
        if current == name:
            raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run(**{step: interrupt})
    assert {path.name for path in Path().iterdir()} == {f"{one}.mid" for one in written}
    assert threading.active_count() == threads


def test_the_last_recording_is_finished_where_ctrl_c_arrives() -> None:
    threads: dict[str, threading.Thread] = {}
    run(lay_bars=lambda name: threads.update({name: threading.current_thread()}))
    assert [name for name in NAMES if threads[name] is threading.main_thread()] == ["d"]


def test_nothing_is_written_after_the_reader_of_the_output_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(content: bytes) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("drum_crnn.formats.batch._write_stream", gone)
    with pytest.raises(BrokenPipeError):
        run(outputs={"a": STREAM})
    assert list(Path().iterdir()) == []


def test_blas_has_one_thread_whichever_recording_ends_first() -> None:
    """Each limit resets what it found, and two of them may overlap in any way."""
    with threadpool_limits(2, user_api="blas"):
        found: list[set[int]] = []

        def transcribe(name: str) -> None:
            with threadpool_limits(1, user_api="blas"):
                pass
            found.append(blas_threads())

        run(transcribe, lambda name: found.append(blas_threads()))
        assert found == [{1}] * 2 * len(NAMES)
        assert blas_threads() == {2}


def blas_threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}
