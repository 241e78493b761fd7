"""Transcribing many recordings in one go: progress, and what went wrong, told at the end."""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Protocol, TypeVar

from rich.progress import Progress as RichProgress
from rich.progress import TaskID
from threadpoolctl import threadpool_limits

from drum_crnn.formats.names import WITHOUT_BARS
from drum_crnn.formats.plan import STREAM, Job
from drum_crnn.formats.song import Song
from drum_crnn.formats.writing import Style, content_of, write
from drum_crnn.foundation.console import printable, progress_bar
from drum_crnn.foundation.errors import NO_SPACE, DrumCrnnError, refused_error
from drum_crnn.music.audio import probe
from drum_crnn.music.recordings import is_kind
from drum_crnn.music.tempo_map import TempoMap
from drum_crnn.music.transcription import Transcription

__all__ = ["Done", "LayBars", "Progress", "Writer", "run_batch"]

Progress = Callable[[float], None]  # called with the seconds of the recording that are done
# From a transcription to its tempo map, if a tempo is known, and what to tell about it, or "".
LayBars = Callable[[Transcription], tuple[TempoMap | None, str]]
_STREAM_NAME = "standard input"
T = TypeVar("T")


class Writer(Protocol):
    """Writes an output that is none of the formats, whole or not at all."""

    def __call__(
        self, path: Path, transcription: Transcription, *, song: Song, style: Style, recording: Path
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Done:
    """A recording that was transcribed and written. `tempo` is what to tell about its bars, or empty.

    The transcription holds no activation, of which many recordings would fill the memory.
    """

    job: Job
    transcription: Transcription
    tempo: str = ""


@dataclass(frozen=True, slots=True)
class _Heard:
    """A recording that was transcribed. `copies` removes the file of a stream, which may still be copied or drawn."""

    recording: Path
    transcription: Transcription
    copies: ExitStack


def run_batch(
    jobs: Sequence[Job],
    transcribe: Callable[[Path, Progress], Transcription],
    *,
    style: Style,
    lay_bars: LayBars | None = None,
    model: str = "",
    writers: Mapping[str, Writer] | None = None,
) -> tuple[list[Done], list[str]]:
    """Do the jobs one after the other. One that fails does not keep the others from being done.

    The bars and the outputs of a recording are made while the next one is transcribed. So `lay_bars` and `writers` are
    called from another thread than `transcribe`, yet for one recording at a time, and one at most waits for them.

    Parameters
    ----------
    transcribe : callable
        From a recording to its transcription. What it raises as DrumCrnnError or OSError is the problem of that
        recording.
    lay_bars : callable, optional
        Gives each recording a tempo map of its own, in place of that of `style`. It is asked once a recording, so that
        all formats have the same bars, and not at all if only formats without bars are wanted.
    writers : mapping of str to callable, optional
        Of the outputs in `drum_crnn.formats.names.EXTRAS`, by their names there.

    Returns
    -------
    list of Done, list of str
        What was done, and a sentence for each recording that was not.
    """
    outcomes: list[Done | str] = []
    waiting: Future[Done | str] | None = None
    # Both threads would set and reset the threads of BLAS, which are those of the whole process.
    with progress_bar() as bar, threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(1) as beside:
        durations = [0.0 if job.problem else _duration_s(job.recording) for job in jobs]
        task = bar.add_task("seconds", total=round(sum(durations)) or None, note="")
        before = 0.0
        for number, (job, duration_s) in enumerate(zip(jobs, durations, strict=True), start=1):
            note = printable(f"file {number} of {len(jobs)}: {job.recording.name}", bar.console.encoding)
            bar.update(task, note=note, completed=round(before))
            heard = _or_problem(job, partial(_hear, job, transcribe, partial(_show, bar, task, before)))
            if waiting is not None:
                outcomes.append(waiting.result())
            finish = partial(_or_problem, job, partial(_finish, job, heard, style, lay_bars, model, writers or {}))
            if number < len(jobs):
                waiting = beside.submit(finish)
            else:
                outcomes.append(finish())  # here, where Ctrl-C ends it
            before += duration_s
    return [one for one in outcomes if isinstance(one, Done)], [one for one in outcomes if isinstance(one, str)]


def _or_problem(job: Job, step: Callable[[], T]) -> T | str:
    """What a step of the job gives, or the sentence why it cannot."""
    try:
        return step()
    except DrumCrnnError as error:
        return str(error)
    except OSError as error:
        if error.filename is None and STREAM in [output.path for output in job.outputs]:
            raise  # the reader of standard output is gone
        named = Path(error.filename or job.recording)
        return str(refused_error(named, error, "read" if named == job.recording else "written"))


def _show(bar: RichProgress, task: TaskID, before_s: float, seconds: float) -> None:
    bar.update(task, completed=round(before_s + seconds))


def _duration_s(recording: Path) -> float:
    """For the progress bar; what cannot be read will be told when its turn comes."""
    if recording == STREAM:
        return 0.0
    try:
        return 0.0 if is_kind(recording, stat.S_ISFIFO) else probe(recording).duration_s
    except (DrumCrnnError, OSError):
        return 0.0


def _hear(job: Job, transcribe: Callable[[Path, Progress], Transcription], progress: Progress) -> _Heard:
    if job.problem:
        raise DrumCrnnError(job.problem)
    with ExitStack() as copies:
        recording = job.recording
        if recording == STREAM:
            if sys.stdin is None or sys.stdin.isatty():
                raise DrumCrnnError(f"{_STREAM_NAME}: is a terminal or closed; pipe a recording into it")
            recording = _save(sys.stdin.buffer, Path(copies.enter_context(tempfile.TemporaryDirectory())))
        elif is_kind(recording, stat.S_ISFIFO):  # such as <(…) in a shell
            with recording.open("rb") as pipe:
                recording = _save(pipe, Path(copies.enter_context(tempfile.TemporaryDirectory())))
        try:
            made = transcribe(recording, progress)
        except DrumCrnnError as error:
            if recording != job.recording:
                name = _STREAM_NAME if job.recording == STREAM else str(job.recording)
                raise DrumCrnnError(str(error).replace(str(recording), name)) from None
            raise
        return _Heard(recording, made, copies.pop_all())


def _finish(
    job: Job,
    heard: _Heard | str,
    style: Style,
    lay_bars: LayBars | None,
    model: str,
    writers: Mapping[str, Writer],
) -> Done | str:
    """Lay the bars and write the outputs of a recording, unless it has a problem already."""
    if isinstance(heard, str):
        return heard
    made, told = heard.transcription, ""
    with heard.copies:
        if lay_bars is not None and any(output.format not in WITHOUT_BARS for output in job.outputs):
            tempo_map, told = lay_bars(made)
            style = replace(style, tempo_map=tempo_map)
        for output in job.outputs:
            if not job.force and output.path != STREAM and os.path.lexists(output.path):
                raise DrumCrnnError(f"{output.path}: was written by another program meanwhile; --force overwrites it")
            named = output.path if job.recording == STREAM and output.path != STREAM else job.recording
            song = Song.of(Path(_STREAM_NAME) if named == STREAM else named, model=model)
            if output.path == STREAM:
                _write_stream(content_of(output.format, made, song=song, style=style))
            elif output.format in writers:
                writers[output.format](output.path, made, song=song, style=style, recording=heard.recording)
            else:
                write(output.format, output.path, made, song=song, style=style, recording=heard.recording)
    return Done(job, replace(made, activation=None), told)


def _save(stream: IO[bytes], folder: Path) -> Path:
    """A stream as a file, since decoders go back and forth in it."""
    path = folder / "recording"
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise DrumCrnnError(
            f"{folder.parent}: has no room for a copy of the stream ({error.strerror}); make room, or name another "
            "folder with the variable TMPDIR"
        ) from None
    return path


def _write_stream(content: bytes) -> None:
    if sys.stdout is None or (sys.stdout.isatty() and not content.isascii()):
        raise DrumCrnnError("standard output: is a terminal or closed; redirect it into a file or a program")
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
