"""What a command line asks for: which recordings, and where each format of each one goes. Nothing is written here.

Nothing is ever planned over a recording, and nothing over an existing file unless that is wanted.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drum_crnn.formats.names import CHART, EXTRAS, FORMAT_OF_SUFFIX, FORMATS
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.recordings import find_recordings, has_audio_suffix, is_kind, is_special

__all__ = ["STREAM", "Job", "Output", "plan"]

STREAM = Path("-")  # standard input, or standard output


@dataclass(frozen=True, slots=True)
class Output:
    """One format, or one of `EXTRAS`, and its file or folder, or STREAM."""

    format: str
    path: Path


@dataclass(frozen=True, slots=True)
class Job:
    """One recording, or STREAM, and its outputs. With a `problem`, it cannot be done."""

    recording: Path
    outputs: tuple[Output, ...]
    problem: str = ""
    force: bool = False  # whether outputs may replace existing files


def plan(
    arguments: Sequence[Path],
    *,
    formats: Sequence[str],
    out: Path | None = None,
    force: bool = False,
    extras: Mapping[str, Path] | None = None,
) -> list[Job]:
    """The jobs of a command line.

    Parameters
    ----------
    arguments : sequence of Path
        Recordings: files, folders, patterns, or `-`. The last of several is the output if it is `-`, if its suffix is
        that of a format, or if it does not exist and its suffix is none of a recording.
    formats : sequence of str
        Names in `FORMATS`. Empty means what the output's suffix says, or MIDI.
    out : Path, optional
        The folder for outputs. By default each lies beside its recording.
    force : bool
        Whether outputs may replace existing files.
    extras : mapping of str to Path, optional
        Names in `EXTRAS`, to be written after the formats. A path with the suffix of its kind is the file of the one
        recording. Any other is a folder for the files of all, as `out` is for the formats.

    Raises
    ------
    DrumCrnnError
        If the arguments contradict each other. What concerns one recording of several is the `problem` of its job.
    """
    for name in formats:
        if name not in FORMATS:
            raise DrumCrnnError(f"--to {name}: there is no such format; the formats are {', '.join(FORMATS)}")
    *_, last = arguments
    named, output = (arguments[:-1], last) if len(arguments) > 1 and _is_output(last) else (arguments, None)
    if len(named) == 2 and _is_same(*named):
        raise DrumCrnnError(
            f"{named[1]}: is the recording itself; name another file to write, such as {_example(named[0])}"
        )
    recordings = _recordings(named)
    formats = tuple(dict.fromkeys(formats)) or (_format_of(output),)
    if output is not None:
        if out is not None:
            raise DrumCrnnError(f"{output}: is an output, and so is --out {out}; name one of them")
        if len(recordings) > 1:
            raise DrumCrnnError(f"{output}: is one output for {len(recordings)} recordings; name a folder with --out")
        if len(formats) > 1:
            raise DrumCrnnError(f"{output}: is one output for {len(formats)} formats; name a folder with --out")
        if FORMAT_OF_SUFFIX.get(output.suffix.lower(), formats[0]) != formats[0]:
            raise DrumCrnnError(
                f"{output}: is no name for --to {formats[0]}; leave --to away, or give it another suffix"
            )
    elif out is not None and out.suffix.lower() in FORMAT_OF_SUFFIX and not is_kind(out, stat.S_ISDIR):
        raise DrumCrnnError(
            f"--out {out}: is the name of a file, but --out is a folder; leave --out away, and name the file last"
        )
    for name, path in (extras or {}).items():
        _check_extra(name, path, len(recordings))
    jobs = []
    outputs: tuple[Output, ...]
    for recording, relative in recordings:
        if output is not None:
            outputs = (Output(formats[0], output),)
        elif recording == STREAM and out is None:
            outputs = tuple(Output(name, STREAM) for name in formats)
        else:
            stem = Path("recording" if recording == STREAM else relative)
            base = (out if out is not None else recording.parent) / (relative.parent if out is not None else "")
            outputs = tuple(Output(name, base / f"{stem.stem}{FORMATS[name]}") for name in formats)
        beside = (Output(name, _extra_path(name, path, relative)) for name, path in (extras or {}).items())
        jobs.append(Job(recording, (*outputs, *beside)))
    _check_streams(jobs)
    return _with_problems(jobs, force=force)


def _check_extra(name: str, path: Path, n_recordings: int) -> None:
    suffix = EXTRAS[name]
    if path == STREAM:
        raise DrumCrnnError(f"--{name} -: cannot be standard output; name a file such as song{suffix}, or a folder")
    if _is_extra_file(name, path) and n_recordings > 1:
        raise DrumCrnnError(f"--{name} {path}: is one file for {n_recordings} recordings; name a folder")
    if path.suffix and not _is_extra_file(name, path) and not is_kind(path, stat.S_ISDIR):
        raise DrumCrnnError(
            f"--{name} {path}: is neither a file that ends in {suffix} nor a folder that exists; "
            f"name one, such as {path.with_suffix(suffix)}"
        )


def _is_extra_file(name: str, path: Path) -> bool:
    return path.suffix.lower() == EXTRAS[name] and not is_kind(path, stat.S_ISDIR)


def _extra_path(name: str, path: Path, relative: Path) -> Path:
    if _is_extra_file(name, path):
        return path
    stem = "recording" if relative == STREAM else relative.stem
    return path / relative.parent / f"{stem}{EXTRAS[name]}"


def _is_output(path: Path) -> bool:
    if path == STREAM or path.suffix.lower() in FORMAT_OF_SUFFIX or is_kind(path, stat.S_ISCHR):
        return True
    return not os.path.lexists(path) and not has_audio_suffix(path) and not any(sign in str(path) for sign in "*?[")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def _example(recording: Path) -> str:
    return str(recording.with_suffix(FORMATS["midi"])) if recording.name else f"song{FORMATS['midi']}"


def _recordings(arguments: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Each recording once, and its path below the folder that was named."""
    found: dict[str, tuple[Path, Path]] = {}
    for argument in arguments:
        for path, relative in [(STREAM, STREAM)] if argument == STREAM else find_recordings(argument):
            found.setdefault("-" if path == STREAM else _absolute(path), (path, relative))
    return list(found.values())


def _format_of(output: Path | None) -> str:
    if output is None or output == STREAM:
        return "midi"
    if output.suffix.lower() not in FORMAT_OF_SUFFIX:
        raise DrumCrnnError(
            f"{output}: is neither a recording nor the name of an output; outputs end in "
            f"{', '.join(FORMAT_OF_SUFFIX)}, or --to names their format"
        )
    return FORMAT_OF_SUFFIX[output.suffix.lower()]


def _check_streams(jobs: Sequence[Job]) -> None:
    streams = [output for job in jobs for output in job.outputs if output.path == STREAM]
    if any(output.format == CHART for output in streams):
        raise DrumCrnnError("a chart is a folder, which standard output cannot hold; name a folder with --out")
    if len(streams) > 1:
        raise DrumCrnnError("standard output holds one file; choose one format, or name a folder with --out")


def _with_problems(jobs: Sequence[Job], *, force: bool) -> list[Job]:
    recordings = [job.recording for job in jobs if job.recording != STREAM]
    sources = {identity for path in recordings if (identity := _identity(path)) is not None}
    owners: dict[str, tuple[Path, str]] = {}
    checked = []
    for job in jobs:
        problem = ""
        for output in job.outputs:
            if output.path == STREAM:
                continue
            # Where letter case makes no difference, names that differ in nothing else are one file.
            name = _absolute(output.path).casefold()
            owner, format_name = owners.setdefault(name, (job.recording, output.format))
            if owner != job.recording:
                option = f"--{output.format if output.format in EXTRAS else 'out'}"
                problem = f"{job.recording}: would be written to {output.path}, as {owner} is; use another {option}"
                problem += " for it"
            elif format_name != output.format:
                problem = f"{output.path}: cannot be both {format_name} and {output.format}; name two files"
            elif _identity(output.path) in sources:
                problem = f"{output.path}: is a recording, which is never overwritten; name another output"
            elif is_special(output.path):
                problem = f"{output.path}: is a device or a pipe, not a file; - writes to standard output"
            elif not force and os.path.lexists(output.path):
                problem = f"{output.path}: exists already; --force overwrites it"
        checked.append(Job(job.recording, job.outputs, problem, force))
    return checked


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  # Path.resolve fails where links go in circles


def _identity(path: Path) -> tuple[int, int] | None:
    """What is equal for all names and links of one file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
