"""The command `drum-crnn`: everything that people do with models, params and corpora outside the DVC pipeline."""

import atexit
import csv
import functools
import gc
import json
import os
import re
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from drum_crnn.formats.names import FORMATS
from drum_crnn.foundation.console import errors_as_messages, say, tell_error, warn
from drum_crnn.foundation.errors import DrumCrnnError

if TYPE_CHECKING:
    from drum_crnn.formats.batch import Writer
    from drum_crnn.transcribe import Transcriber

__all__ = ["app", "main"]

# Heavy modules are imported by the commands that need them: `drum-crnn scores` should not wait for torch.

MODEL = Path("models/drum_crnn.safetensors")
# As in drum_crnn.foundation.params, which imports numpy; `--help` should not wait for it.
PARAMS_FILE = Path("params.yaml")

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Transcribe drum recordings to MIDI, and manage models, params and corpora.",
)
corpus_app = typer.Typer(no_args_is_help=True, help="Scan or check a corpus that lies outside the repository.")
app.add_typer(corpus_app, name="corpus")

# A path that typer does not try to read: its error would not say what to do, and it does not know what a file is for.
_path_argument, _path_option = (functools.partial(of, readable=False) for of in (typer.Argument, typer.Option))


class Precision(StrEnum):
    """Of the convolutions on the CPU."""

    INT8 = "int8"
    FLOAT32 = "float32"


class Taste(StrEnum):
    """What thresholds may be changed in favour of."""

    RECALL = "recall"
    PRECISION = "precision"
    GAME = "game"


def _path(text: str) -> Path:
    """A path of `transcribe`. An empty one, as of a variable that is not set, would mean the current folder."""
    if not text:
        raise typer.BadParameter("is empty; name a file or a folder")
    if "://" in text:
        raise typer.BadParameter(f"{text} is an address; download it, and name the file")
    return Path(text)


FavourOption = Annotated[
    Taste | None,
    typer.Option(help="More onsets (recall), surer onsets (precision), or no kick or snare missing (game)."),
]
ThresholdOption = Annotated[
    list[str] | None, typer.Option(help="Override a lane's threshold, such as crash=0.5; repeatable.")
]

# Some recordings were transcribed and others were not.
EXIT_PARTLY = 3

MOST_PROBLEMS = 40  # that `corpus check` prints


@app.command()
@errors_as_messages
def transcribe(
    recordings: Annotated[
        list[Path],
        typer.Argument(
            metavar="RECORDING... [OUTPUT]",
            parser=_path,
            help="Files, folders or patterns; - is standard input. One recording may be followed by the file to write, "
            "whose suffix says the format; - is standard output.",
        ),
    ],
    to: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Formats to write: {', '.join(FORMATS)}. Several with commas; repeatable. Defaults to midi."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=_path, metavar="FOLDER", help="The folder to write to. Defaults to the folder of each recording."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing outputs, but never a recording.")] = False,
    notes: Annotated[
        str,
        typer.Option(
            help="MIDI notes of the lanes: gm, roland-td, ezdrummer, superior, addictive-drums, logic, studio-one, or "
            "a YAML or JSON file with a note for each lane."
        ),
    ] = "gm",
    favour: FavourOption = None,
    threshold: ThresholdOption = None,
    minimum_velocity: Annotated[
        int, typer.Option(min=1, max=127, help="Leave out onsets that are softer than this.")
    ] = 1,
    tempo: Annotated[
        str,
        typer.Option(
            metavar="auto|none|BPM|FILE.mid",
            help="Where bars lie. auto estimates them; a number does so near that tempo; a MIDI file's tempos and time "
            "signatures hold as they are; none is a grid of 120 bpm. The notes' times stay the same.",
        ),
    ] = "auto",
    bpm: Annotated[
        float | None,
        typer.Option(
            min=4, max=1000, help="Bars of exactly this tempo from the start of the recording, in place of --tempo."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            parser=_path,
            metavar="FILE.png|FOLDER",
            help="Draw a picture, too: spectrogram, activations, thresholds and onsets. For several recordings, a "
            "folder.",
        ),
    ] = None,
    sonify: Annotated[
        Path | None,
        typer.Option(
            parser=_path,
            metavar="FILE.wav|FOLDER",
            help="Play the transcription, too: the recording on the left, sampled drums on the right. For several "
            "recordings, a folder.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        _path_option(
            help=f"The exported model to use. Defaults to {MODEL} if that file exists, otherwise to the released "
            "model.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Run on cpu or cuda (a GPU, by PyTorch); auto is cpu.")] = "auto",
    precision: Annotated[
        Precision | None, typer.Option(help="Of the convolutions on the CPU: int8 is faster, and the default.")
    ] = None,
) -> None:
    """Transcribe recordings to MIDI and other formats.

    Exit codes: 0 if all recordings were transcribed, 3 if some were, 1 if none was, 2 for options that make no sense.
    """
    from drum_crnn.formats.batch import run_batch
    from drum_crnn.formats.note_maps import load_note_map
    from drum_crnn.formats.plan import STREAM, plan
    from drum_crnn.formats.writing import Style
    from drum_crnn.music.tempo_map import TempoMap
    from drum_crnn.tempo.choice import read_choice

    if bpm is not None and tempo.lower() != "auto":
        raise DrumCrnnError(f"--bpm {bpm:g} and --tempo {tempo} contradict each other; give one of them")
    formats = [name.strip().lower() for text in to or [] for name in text.split(",") if name.strip()]
    if to and not formats:
        raise DrumCrnnError(f"--to names no format; the formats are {', '.join(FORMATS)}")
    extras = {name: path for name, path in (("plot", plot), ("sonify", sonify)) if path is not None}
    jobs = plan(recordings, formats=formats, out=out, force=force, extras=extras)
    overrides = _parse_thresholds(threshold)
    choice = read_choice(tempo)
    style = Style(None if bpm is None else TempoMap.constant(bpm), load_note_map(notes))
    if len(jobs) == 1 and jobs[0].problem:
        raise DrumCrnnError(jobs[0].problem)  # before a model is loaded
    model, transcriber = _load_transcriber(model, overrides, favour, device=device, precision=precision)
    done, problems = run_batch(
        jobs,
        lambda recording, progress: transcriber.transcribe_file(
            recording, progress=progress, keep_activation=plot is not None
        ).louder_than(minimum_velocity),
        style=style,
        lay_bars=None if bpm is not None else lambda made: choice(made.onsets),
        model=model.name,
        writers={name: _plotter(transcriber) if name == "plot" else _sonifier() for name in extras},
    )
    to_stderr = any(output.path == STREAM for job in jobs for output in job.outputs)
    for one in done:
        if one.transcription.doubts:
            name = "standard input" if one.job.recording == STREAM else one.job.recording
            warn(f"{name}: {'. It '.join(one.transcription.doubts)}")
    if len(jobs) == 1:
        if problems:
            raise DrumCrnnError(problems[0])
        [only] = done
        table = Table("lane", "onsets")
        for lane, count in only.transcription.counts().items():
            table.add_row(lane, str(count))
        Console(stderr=to_stderr).print(table)
        paths = ", ".join(
            "standard output" if output.path == STREAM else str(output.path) for output in only.job.outputs
        )
        say(f"{len(only.transcription)} onsets written to {paths}; model: {model}", err=to_stderr)
        if only.tempo:
            say(only.tempo, err=to_stderr)
        return
    for one in done:
        paths = ", ".join(str(output.path) for output in one.job.outputs)
        told = f"; {one.tempo}" if one.tempo else ""
        say(f"{one.job.recording}: {len(one.transcription)} onsets written to {paths}{told}", err=to_stderr)
    say(f"{len(done)} of {len(jobs)} recordings transcribed; model: {model}", err=to_stderr)
    for problem in problems:
        tell_error(problem)
    if problems:
        raise typer.Exit(EXIT_PARTLY if done else 1)


class RawFormat(StrEnum):
    """Samples without a header, as other programs write them to a pipe."""

    S16 = "s16le"
    F32 = "f32le"


@app.command()
@errors_as_messages
def listen(
    rate: Annotated[int, typer.Option(min=1000, max=768_000, help="Sample rate in Hz.")] = 44_100,
    channels: Annotated[int, typer.Option(min=1, max=64, help="Number of channels.")] = 1,
    encoding: Annotated[RawFormat, typer.Option("--format", help="16-bit integers or 32-bit floats.")] = RawFormat.S16,
    lookahead: Annotated[
        float | None,
        typer.Option(min=0.0, help="Seconds to hear after a stroke before deciding about it. Defaults to 0.5."),
    ] = None,
    favour: FavourOption = None,
    threshold: ThresholdOption = None,
    model: Annotated[Path | None, _path_option(help="The exported model to use, as in transcribe.")] = None,
) -> None:
    """Transcribe standard input while it is played: raw samples in, a line for each onset out.

    A line is the time in seconds, the lane and the velocity, with tabs between them. It comes 0.7 s after the stroke.
    """
    import numpy as np

    from drum_crnn.music.raw_samples import raw_blocks

    if sys.stdin is None or sys.stdin.isatty():
        raise DrumCrnnError("standard input: is a terminal or closed; pipe raw samples into it")
    _, transcriber = _load_transcriber(model, _parse_thresholds(threshold), favour)
    stream = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115  # what comes, as it comes
    dtype = np.dtype("<i2" if encoding is RawFormat.S16 else "<f4")
    try:
        for part in transcriber.listen(
            raw_blocks(stream, dtype=dtype, n_channels=channels), rate, lookahead_s=lookahead
        ):
            for time_s, lane, velocity, _ in part.rows():
                typer.echo(f"{time_s:.3f}\t{lane}\t{velocity}")
            sys.stdout.flush()
    except ValueError as error:
        raise DrumCrnnError(f"standard input: {error}; check --format, --channels and --lookahead") from None


def _plotter(transcriber: "Transcriber") -> "Writer":
    from drum_crnn.formats.plot import write_plot

    return lambda path, made, *, song, style, recording: write_plot(
        path,
        made,
        recording=recording,
        features=transcriber.features,
        thresholds=transcriber.thresholds,
        title=song.recording,
        tempo_map=style.tempo_map,
    )


def _sonifier() -> "Writer":
    from drum_crnn.sonification import default_kit, write_sonification  # the studio, which others do without

    kit = default_kit()
    return lambda path, made, *, song, style, recording: write_sonification(path, made, recording=recording, kit=kit)


def _load_transcriber(
    model: Path | None,
    thresholds: Mapping[str, float],
    favour: Taste | None,
    *,
    device: str = "auto",
    precision: Precision | None = None,
) -> tuple[Path, "Transcriber"]:
    """The model that was asked for, or the default one, and its transcriber."""
    from drum_crnn.transcribe import Transcriber, released_model

    if model is None:
        model = MODEL if MODEL.is_file() else released_model()
    return model, Transcriber.load(
        model,
        thresholds=thresholds,
        favour=favour and favour.value,
        device=device,
        precision=None if precision is None else precision.value,
    )


def _parse_thresholds(texts: list[str] | None) -> dict[str, float]:
    thresholds = {}
    for text in texts or []:
        lane, _, value = text.partition("=")
        try:
            thresholds[lane.strip()] = float(value)
        except ValueError:
            raise DrumCrnnError(f"--threshold {text}: write it as LANE=VALUE, such as snare=0.4") from None
    return thresholds


@app.command()
@errors_as_messages
def export(
    weights: Annotated[Path, _path_argument(help="Weights from the train stage.")] = Path("models/crnn.safetensors"),
    thresholds: Annotated[Path, _path_argument(help="Thresholds from the tune-thresholds stage.")] = Path(
        "models/thresholds.json"
    ),
    model: Annotated[Path, _path_argument(help="The model file to write.")] = MODEL,
) -> None:
    """Merge weights and thresholds into one self-contained model file."""
    from drum_crnn.engine.exporting import export_model

    export_model(weights, thresholds, model)
    say(f"{model}: {model.stat().st_size / 1e6:.2f} MB")


@app.command()
@errors_as_messages
def onnx(
    model: Annotated[Path, _path_argument(help="An exported model.")],
    file: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    precision: Annotated[
        Precision, typer.Option(help="Of the convolutions; only ONNX Runtime can run int8.")
    ] = Precision.FLOAT32,
) -> None:
    """Write the network of a model as an ONNX file, for other programs.

    `drum-crnn transcribe` makes the same graph from the model itself, and needs no such file.
    """
    from drum_crnn.engine.graph import network_graph
    from drum_crnn.foundation.atomic import replace_file
    from drum_crnn.model.stored_model import StoredModel

    content = network_graph(StoredModel.load(model), precision=precision.value)
    with replace_file(file) as temporary:
        temporary.write_bytes(content)
    say(f"{file}: {len(content) / 1e6:.2f} MB; log-mel frames in, activations out, settings in its metadata")


@app.command()
@errors_as_messages
def average(
    one: Annotated[Path, _path_argument(help="A model, such as the one that a training began with.")],
    other: Annotated[Path, _path_argument(help="Another model of the same size, such as what came of it.")],
    weights: Annotated[Path, _path_argument(help="The file to write: weights without thresholds.")],
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the other model.")] = 0.5,
) -> None:
    """Write the mean of two models' weights.

    Choose thresholds for it with `python -m stages.tune_thresholds`, then merge both with `drum-crnn export`.
    """
    from drum_crnn.engine.exporting import average_models

    average_models(one, other, weights, share=share)
    say(f"{weights}: {1 - share:g} of {one} and {share:g} of {other}")


@app.command()
@errors_as_messages
def scores(
    metrics: Annotated[Path, typer.Argument(help="The folder with the evaluate stage's scores.")] = Path("metrics"),
    model: Annotated[Path, typer.Option(help="The path of the evaluated model, to show below the table.")] = MODEL,
) -> None:
    """Show the scores of the last evaluation, lane by lane."""
    path = metrics / "evaluation" / "lanes.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        summary = json.loads((metrics / "evaluation.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DrumCrnnError(f"{error.filename}: there are no scores yet; run `dvc repro` to evaluate a model") from None
    if rows and "average_precision" not in rows[0]:
        raise DrumCrnnError(
            f"{path}: lacks the average precision, since an older version wrote it; run `dvc repro evaluate`"
        )
    table = Table(
        title="Onset scores on the test split, tolerance ±50 ms",
        caption="interval: confidence interval of F over performances; AP: average precision, in the last row the mean "
        "over lanes; ±25 ms: F at that tolerance; velocity: mean absolute error",
        collapse_padding=True,  # so that it fits into 80 columns
    )
    for column in ("lane", "onsets", "P", "R", "F", "interval", "AP", "±25 ms", "velocity"):
        table.add_column(column, justify="left" if column == "lane" else "right")
    for row in rows:
        names = ("precision", "recall", "f1", "average_precision", "f1_25ms")
        precision, recall, f, ap, strict_f = (row[name] and f"{float(row[name]):.3f}" for name in names)
        interval = row["f1_low"] and f"{float(row['f1_low']):.3f}–{float(row['f1_high']):.3f}"
        velocity = row["velocity_mae"] and f"{float(row['velocity_mae']):.1f}"
        if row["lane"] == "all":
            table.add_section()
        table.add_row(row["lane"], row["references"], precision, recall, f, interval, ap, strict_f, velocity)
    Console().print(table)
    if summary["f1_unheard_kits"] is not None:
        say(f"F on kits that training did not use: {summary['f1_unheard_kits']:.3f}")
    say(f"model: {model}")


@app.command()
@errors_as_messages
def preset(
    names: Annotated[
        list[str],
        typer.Argument(help="Files in presets/, without .yaml: a corpus, a size, a machine. Later ones win."),
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Set another value, such as render.seed=2; repeatable.")
    ] = None,
    params_file: Annotated[Path, typer.Option(help="The params file to change.")] = PARAMS_FILE,
) -> None:
    """Apply presets to params.yaml, keeping its comments.

    To undo this, run `git checkout params.yaml`.
    """
    from drum_crnn.workbench.presets import apply_presets

    changed = apply_presets(params_file, [Path("presets") / f"{name}.yaml" for name in names], set_ or [])
    say(f"{params_file}: {len(changed)} values set ({', '.join(changed)})")
    say(f"next, run `dvc repro` or `dvc exp run -n {'-'.join(names)}`; to undo, run `git checkout {params_file}`")


@app.command()
@errors_as_messages
def search(
    space: Annotated[Path, _path_argument(help="A YAML file: keys of params.yaml, each with a range or its choices.")],
    trials: Annotated[int, typer.Option(min=1, help="Number of trials, including those that are done.")] = 20,
    jobs: Annotated[int, typer.Option(min=1, help="Number of trials that run at the same time.")] = 1,
    metric: Annotated[
        str, typer.Option(help="Score on the validation split: f1, f1_LANE such as f1_kick, or loss (lowest is best).")
    ] = "f1",
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the sampler.")] = 0,
    name: Annotated[
        str | None, typer.Option(help="Prefix of the experiments' names; defaults to the file's name.")
    ] = None,
) -> None:
    """Search for better params: Optuna proposes trials, and DVC runs them as experiments NAME-0, NAME-1, …

    The same command resumes an interrupted search. With a larger --trials, it adds trials. It ends with a ranking.
    """
    from drum_crnn.workbench.search import read_space
    from drum_crnn.workbench.search import search as run_search

    name = name or space.stem
    ranking = run_search(read_space(space), name, n_trials=trials, n_jobs=jobs, metric=metric, seed=seed)
    if not ranking:
        raise DrumCrnnError("no trial has a score")
    table = Table("trial", *ranking[0].values, f"validation {metric}")
    for trial in ranking:
        table.add_row(trial.name, *trial.values.values(), f"{trial.score:.4f}")
    Console().print(table)
    say(f"to apply the best trial to the workspace: dvc exp apply {ranking[0].name}")


@app.command()
@errors_as_messages
def verify(
    remove: Annotated[
        bool, typer.Option("--remove", help="Delete the damaged files, so that `dvc repro` makes them again.")
    ] = False,
) -> None:
    """Find damaged files that DVC does not notice.

    This reads all outputs and DVC's whole cache, and compares their checksums.
    """
    from drum_crnn.workbench.verification import find_damage

    damaged = find_damage(Path())
    for damage in damaged:
        say(f"{os.path.relpath(damage.path)}: is damaged; it is {damage.what}")
        if remove:
            damage.path.unlink()
    if not damaged:
        say("no damage: every output and every file in DVC's cache matches its checksum")
    elif remove:
        say(f"files deleted: {len(damaged)}; next, run `dvc pull` if there is a remote, then `dvc repro`")
    else:
        say(f"files damaged: {len(damaged)}; run `drum-crnn verify --remove` to delete them, then `dvc repro`")
        raise typer.Exit(1)


class Published(StrEnum):
    """Corpora that can be downloaded."""

    EGMD = "egmd"
    GROOVE = "groove"
    GROOVE_MIDI = "groove-midi"


@app.command()
@errors_as_messages
def fetch(
    dataset: Annotated[
        Published, typer.Argument(help="E-GMD (96 GB, 142 GB unpacked), Groove (5 GB), or Groove without audio (3 MB).")
    ],
    to: Annotated[Path, typer.Option(help="The folder that gets the corpus, as a folder of its own.")],
    url: Annotated[str | None, typer.Option(help="A mirror to download the archive from.")] = None,
    sha256: Annotated[
        str | None, typer.Option(help="The archive's checksum, if the mirror has another one than the published.")
    ] = None,
) -> None:
    """Download a published corpus, check it and unpack it.

    The same command resumes an interrupted one. The archive shrinks while it is unpacked, so the disk needs room for
    the archive or the corpus, whichever is larger.
    """
    from drum_crnn.foundation.stopping import raise_on_signals
    from drum_crnn.preparation.fetching import DATASETS
    from drum_crnn.preparation.fetching import fetch as fetch_corpus

    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise DrumCrnnError(f"--sha256 {sha256}: is no sha256, which has 64 hexadecimal digits")
    with raise_on_signals("what is done is kept, run the same command again to continue"):
        folder = fetch_corpus(DATASETS[dataset.value], to, url=url, sha256=sha256)
    has_audio = dataset is not Published.GROOVE_MIDI
    after = f"run `drum-crnn corpus scan {folder}`" if has_audio else f"render it: set render.performances: {folder}"
    say(f"{folder}: complete; next, {after}")


@corpus_app.command()
@errors_as_messages
def scan(
    root: Annotated[Path, _path_argument(help="The folder with the unpacked corpus.")],
    fingerprint: Annotated[
        Path | None,
        typer.Option(help="The fingerprint file to write. Defaults to <root>.fingerprint.csv, beside the corpus."),
    ] = None,
    memory: Annotated[Path, typer.Option(help="The file that keeps checksums between scans.")] = Path(
        ".cache/corpus_memory.csv"
    ),
) -> None:
    """Write the fingerprint of a corpus, so that DVC notices changes without hashing or copying it.

    The first scan reads every file. Later scans read only files that changed.
    """
    from drum_crnn.preparation.fingerprint import scan as scan_corpus

    # Absolute paths: queued experiments run in other folders, which lack all files that git ignores.
    root = root.resolve()
    watch = (fingerprint or root.with_name(f"{root.name}.fingerprint.csv")).resolve()
    scan_corpus(root, watch, memory)
    say(f"{watch} written; in params.yaml, set corpus.root: {root} and corpus.watch: {watch}")


@corpus_app.command()
@errors_as_messages
def check(
    root: Annotated[Path, _path_argument(metavar="DIR", help="The folder with the corpus.")],
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a table with a row for each recording.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Check only this many recordings of each kit, evenly chosen.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of processes. Defaults to the number of cores.")
    ] = None,
) -> None:
    """Find what is wrong with the recordings of a corpus.

    This decodes every recording. It finds silence, clipping, damage, wrong formats, audio that is earlier or later than
    its notes, and audio of another performance.

    Exit codes: 0 if nothing is wrong, 1 if something is, 2 if there is no such corpus.
    """
    from drum_crnn.data.corpus import Corpus
    from drum_crnn.foundation.console import default_workers
    from drum_crnn.preparation.inspection import inspect_corpus, write_inspections
    from drum_crnn.preparation.inspection_table import problem_lines, table_of_kits

    try:
        corpus = Corpus.open(root)
        if csv_file is not None and not csv_file.parent.is_dir():
            raise DrumCrnnError(f"--csv {csv_file}: there is no folder {csv_file.parent}; make it first")
    except DrumCrnnError as error:
        tell_error(error)
        raise typer.Exit(2) from None
    inspections = inspect_corpus(corpus, sample=sample, workers=workers or default_workers())
    if csv_file is not None:
        write_inspections(csv_file, inspections)
    Console().print(table_of_kits(inspections))
    problems = problem_lines(inspections, corpus.csv_path.name)
    for problem in problems[:MOST_PROBLEMS]:
        say(problem)
    if len(problems) > MOST_PROBLEMS:
        where = f"{csv_file} lists all" if csv_file else "--csv FILE lists all"
        say(f"… and {len(problems) - MOST_PROBLEMS} more; {where}")
    n_remarks = sum(bool(one.remarks) for one in inspections)
    n_without = sum(not recording.audio_path for recording in corpus.recordings)
    facts = [
        f"{len(inspections)} of {len(corpus.recordings) + len(corpus.problems)} recordings checked",
        f"{len(problems)} with problems",
        f"{n_remarks} with remarks, which are in {csv_file or 'the table that --csv writes'}" if n_remarks else "",
        f"{n_without} without audio" if n_without else "",
    ]
    say(f"{corpus.csv_path}: {', '.join(filter(None, facts))}")
    if problems:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the console script."""
    # Modules stay until the process ends. To look for garbage among them, while they are imported and once more at the
    # end, takes a tenth of the time of a short transcription.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    app()


if __name__ == "__main__":
    main()
