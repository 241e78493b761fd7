"""Rendering a corpus: performances × kits → recordings in E-GMD's layout.

A corpus is recorded in *sessions*. A session records the performances of some splits on the kits of one group, each
performance once or several times (*takes*). It may cut performances into segments, and may apply a *variation*: other
notes, a kit assembled from several, a band, a room, a mixing desk (`playing`, `variation`, `accompaniment`,
`production`).

Kits come in three groups. `kits`, the group heard, may play any performance. `validation_kits` play only for the
validation split, and `unheard_kits` only for the test split. A group loses every sample that an earlier group has as
well: no sample of an unheard kit occurs in training, not even as a part of another kit. `withheld_notes` removes notes
from the first group. So the other groups keep samples even where the presets of a SoundFont share them. Within a group,
each entry of the list is drawn equally often, whatever the number of its presets.

All random choices follow from the seed, the performance, the session, the take and the segment. So neither the number
of workers nor the other recordings change a recording.
"""

import io
import itertools
import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import soundfile
from pydantic import Field, model_validator

from drum_crnn.band.grid import beats_per_bar
from drum_crnn.band.players import Part
from drum_crnn.data.audibility import write_audibility
from drum_crnn.data.corpus import CONDITION_COLUMN, EGMD_COLUMNS
from drum_crnn.foundation.atomic import replace_directory
from drum_crnn.foundation.console import track
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.params import ParamsSection, StrictModel, read_yaml
from drum_crnn.foundation.tables import write_records, write_table
from drum_crnn.foundation.workers import worker_pool
from drum_crnn.music.midi import Note
from drum_crnn.music.midi_writing import SAMPLE_EXACT_TICKS, write_midi
from drum_crnn.studio import sampler
from drum_crnn.studio.accompaniment import BandVariation, add_band, check_band, check_unheard, draw_accompaniment
from drum_crnn.studio.groove_params import GrooveParams
from drum_crnn.studio.grooves import generate_performances
from drum_crnn.studio.kits import SAMPLE_RATE, Kit, Sound, kit_table_rows, without_notes, without_samples
from drum_crnn.studio.masking import measure_audibility
from drum_crnn.studio.performances import Performance, read_performances, select_hours
from drum_crnn.studio.playing import PlayingVariation, cut, vary_playing
from drum_crnn.studio.production import ProductionVariation, add_surroundings, produce
from drum_crnn.studio.songs import cut_parts, faster_parts, read_songs
from drum_crnn.studio.sources import open_kits
from drum_crnn.studio.variation import PIECES, KitVariation, has_piece, vary_kit

__all__ = [
    "VARIATIONS_FILE",
    "KitGroup",
    "RenderParams",
    "RenderSummary",
    "Session",
    "Variation",
    "load_variations",
    "open_groups",
    "render_corpus",
]

VARIATIONS_FILE = Path("variations.yaml")
GENERATED = "generated"
PLAIN = "plain"  # the condition of recordings without a variation

_GROUPS = ("heard", "validation", "unheard")
_MIN_SEGMENT_NOTES = 4
_LEAD_S = (0.1, 1.0)  # silence before a segment


class Hours(StrictModel):
    """Hours of performances to use from each split; null uses all."""

    train: float | None = Field(gt=0)
    validation: float | None = Field(gt=0)
    test: float | None = Field(gt=0)


class Session(StrictModel):
    """Which performances are recorded, on what, and how.

    Attributes
    ----------
    name : str
        Part of the recordings' names and of their random seeds.
    splits : "all" or tuple of str
        Splits whose performances are recorded; "all" includes performances without a split.
    kits : str
        The group: heard, validation or unheard.
    takes : int
        Recordings of each performance, on different kits while there are any.
    segment_s : float or None
        Length in seconds of the segments that performances are cut into, before their tempo is varied; None keeps
        them whole.
    variation : str or None
        Name of the variation; None for plain recordings.
    """

    name: str = Field(pattern=r"^[a-z0-9]+$")
    splits: Literal["all"] | tuple[Literal["train", "validation", "test"], ...]
    kits: Literal["heard", "validation", "unheard"]
    takes: int = Field(ge=1)
    segment_s: float | None = Field(gt=1)
    variation: str | None

    @property
    def condition(self) -> str:
        """How the session's recordings were made, for the corpus's table."""
        return self.variation or PLAIN


class Variation(StrictModel):
    """Everything that may vary from recording to recording; None leaves a part as it is."""

    playing: PlayingVariation | None
    kit: KitVariation | None
    band: BandVariation | None
    production: ProductionVariation | None


class RenderParams(ParamsSection):
    """Section `render`: which performances the studio plays, and on which kits."""

    section: ClassVar[str] = "render"

    seed: int = Field(ge=0)
    performances: str
    grooves: GrooveParams
    songs: str | None
    hours: Hours
    kits: tuple[str, ...] = Field(min_length=1)
    validation_kits: tuple[str, ...]
    unheard_kits: tuple[str, ...]
    fonts: tuple[str, ...] = Field(min_length=1)
    unheard_fonts: tuple[str, ...]
    withheld_notes: tuple[Annotated[int, Field(ge=0, le=127)], ...]
    peak_dbfs: tuple[float, float]
    sessions: tuple[Session, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.peak_dbfs[0] <= self.peak_dbfs[1] <= 0:
            raise ValueError("peak_dbfs must be [lowest, highest], not above 0")
        names = Counter(session.name for session in self.sessions)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"sessions: two sessions are named '{twice[0]}'")
        for session in self.sessions:
            if not {"heard": self.kits, "validation": self.validation_kits, "unheard": self.unheard_kits}[session.kits]:
                raise ValueError(f"sessions: '{session.name}' plays {session.kits} kits, but there are none")
            if not session.splits:
                raise ValueError(f"sessions: '{session.name}' records no split; name at least one, or write all")
            if session.kits != "heard" and (session.splits == "all" or "train" in session.splits):
                raise ValueError(f"sessions: '{session.name}' would use {session.kits} kits in training")
            if session.kits != "heard" and (session.kits == "unheard") == ("validation" in session.splits):
                other = "validation" if session.kits == "unheard" else "test"
                raise ValueError(f"sessions: '{session.name}' would use {session.kits} kits in the {other} split")
        return self

    def fonts_of(self, band: BandVariation) -> tuple[str, ...]:
        """The SoundFonts of a band: those that training hears, or the unheard ones, where there are any."""
        return self.unheard_fonts if band.material == "unheard" and self.unheard_fonts else self.fonts


_NO_VARIATION = Variation(playing=None, kit=None, band=None, production=None)


def load_variations(path: Path = VARIATIONS_FILE) -> dict[str, Variation]:
    """Read and check the variations of a file, by name.

    Raises
    ------
    DrumCrnnError
        If the file cannot be read, or a variation has a wrong name, lacks a key, has an unknown one, or a wrong value.
    """
    variations = {}
    for name, values in read_yaml(path).items():
        if not (isinstance(name, str) and re.fullmatch("[a-z0-9_]+", name)):
            raise DrumCrnnError(f"{path}: '{name}': use small letters, digits and _ for the name of a variation")
        if name == PLAIN:
            raise DrumCrnnError(f"{path}: '{PLAIN}' means recordings without a variation; choose another name")
        variations[name] = Variation.check(values, source=f"{path}: {name}")
    return variations


@dataclass(frozen=True, eq=False)
class KitGroup:
    """The kits of one group.

    Attributes
    ----------
    entries : tuple of tuples of Kit
        One for each reference in the params: its kits that have drums.
    percussion : tuple of Sound
        The percussion of all kits of the group, each sample once.
    table : list of dict
        Rows of `kit_table_rows`.
    """

    entries: tuple[tuple[Kit, ...], ...]
    percussion: tuple[Sound, ...]
    table: list[dict[str, Any]]

    @classmethod
    def of(cls, references: Sequence[Sequence[Kit]]) -> Self:
        """A group of the kits that each reference names."""
        kits = [kit for of_reference in references for kit in of_reference]
        percussion = {sound.layers[0].sample.sha256: sound for kit in kits for sound in kit.percussion}
        entries = [tuple(kit for kit in of_reference if kit.sounds) for of_reference in references]
        return cls(
            tuple(entry for entry in entries if entry),
            tuple(percussion.values()),
            [row for kit in kits for row in kit_table_rows(kit)],
        )

    @property
    def kits(self) -> list[Kit]:
        """All kits that have drums."""
        return [kit for entry in self.entries for kit in entry]

    def draw(self, rng: np.random.Generator, piece: str) -> Kit:
        """A random kit that has the piece, each entry being equally likely; the first kit if none has it."""
        for index in rng.permutation(len(self.entries)):
            entry = self.entries[int(index)]
            kit = entry[int(rng.integers(len(entry)))]
            if has_piece(kit, piece):
                return kit
        return self.entries[0][0]


@dataclass(frozen=True, slots=True)
class RenderSummary:
    """What was rendered."""

    n_recordings: int
    n_performances: int
    n_kits: int
    audio_s_of: dict[str, float]  # by condition

    @property
    def audio_s(self) -> float:
        """Seconds of audio, of all conditions."""
        return sum(self.audio_s_of.values())


@dataclass(frozen=True, slots=True)
class _Job:
    """One recording to render: a stretch of a performance, in a take of a session. `stem`: its path without suffix."""

    performance: Performance
    session: Session
    take: int
    segment: int
    stretch_s: tuple[float, float] | None
    stem: Path


@dataclass(frozen=True, eq=False)
class _Setup:
    """What all recordings of a corpus share."""

    groups: Mapping[str, KitGroup]
    params: RenderParams
    variations: Mapping[str, Variation]


@dataclass(frozen=True, slots=True)
class _Rendered:
    kit: str
    duration_s: float
    bpm: float


def open_groups(params: RenderParams) -> dict[str, KitGroup]:
    """Open the groups of kits: for any split, for the validation split alone, and for the test split alone."""
    groups: dict[str, KitGroup] = {}
    known: set[str] = set()
    for group, references in zip(_GROUPS, (params.kits, params.validation_kits, params.unheard_kits), strict=True):
        opened = []
        for reference in references:
            kits = [without_samples(kit, known) for kit in open_kits(reference)]
            if group == "heard":
                kits = [without_notes(kit, params.withheld_notes) for kit in kits]
            if empty := [kit.name for kit in kits if not kit.sounds and not kit.percussion]:
                raise DrumCrnnError(
                    f"render: the kits {', '.join(empty)} have no samples left: earlier groups have them too, or "
                    "withheld_notes removes them; remove these kits"
                )
            opened.append(kits)
        groups[group] = KitGroup.of(opened)
        known |= {row["sha256"] for row in groups[group].table}
        if references and not groups[group].entries:
            raise DrumCrnnError(f"render: the {group} kits have only percussion; name one with drums")
    names = Counter(kit.name for group in groups.values() for kit in group.kits)
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise DrumCrnnError(f"render: kits, validation_kits and unheard_kits name a kit twice: {', '.join(twice)}")
    return groups


def render_corpus(
    target: Path, kits_csv: Path, params: RenderParams, variations: Mapping[str, Variation], *, n_workers: int
) -> RenderSummary:
    """Render a corpus into `target`, which is replaced, and list every sample of the kits in `kits_csv`.

    Raises
    ------
    DrumCrnnError
        If a session needs a variation that is not in `variations`, there is nothing to play, or a kit or performance
        cannot be read.
    """
    for session in params.sessions:
        if session.variation is not None and session.variation not in variations:
            known = ", ".join(variations) or "none"
            raise DrumCrnnError(
                f"render.sessions: '{session.name}' needs the unknown variation '{session.variation}'; known: {known}"
            )
    if params.performances == GENERATED:
        performances = generate_performances(params.grooves, seed=params.seed)
    else:
        performances = read_performances(Path(params.performances))
    if params.songs is not None:
        performances += read_songs(Path(params.songs))
    performances = [p for p in select_hours(performances, params.hours.model_dump(), seed=params.seed) if p.notes]
    if not performances:
        raise DrumCrnnError(f"{params.performances}: holds no performance with notes; see render.performances")
    for session in params.sessions:
        if session.splits != "all" and not any(performance.split in session.splits for performance in performances):
            raise DrumCrnnError(
                f"render.sessions: '{session.name}' records {' and '.join(session.splits)} performances, but there are "
                f"none (render.performances is {params.performances}); remove it, and the kits that only it plays"
            )
    programs = {part.program for performance in performances for part in performance.parts}
    used = {session.variation for session in params.sessions if session.variation is not None}
    bands = [band for name in sorted(used) if (band := variations[name].band) is not None and band.enabled]
    for band in bands:
        check_band(band, params.fonts_of(band), programs)
    if bands:  # this reads fonts as a whole
        check_unheard(params.unheard_fonts, params.fonts)
    groups = open_groups(params)
    setup = _Setup(groups, params, variations)
    with replace_directory(target) as directory:
        jobs = [job for performance in performances for job in _jobs_of(performance, params, directory)]
        done = [
            (job, rendered)
            for job, rendered in zip(jobs, _run_jobs(jobs, setup, n_workers), strict=True)
            if rendered.duration_s > 0
        ]
        if not done:
            raise DrumCrnnError("render: the kits play none of the notes; see render.kits and render.sessions")
        columns = (*EGMD_COLUMNS, CONDITION_COLUMN)
        rows = [_table_row(job, rendered, directory) for job, rendered in done]
        write_table(directory / "corpus.csv", columns, ([row[c] for c in columns] for row in rows))
    write_records(kits_csv, [{"group": name, **row} for name, group in groups.items() for row in group.table])
    audio_s: defaultdict[str, float] = defaultdict(float)
    for job, rendered in done:
        audio_s[job.session.condition] += rendered.duration_s
    n_kits = sum(len(group.kits) for group in groups.values())
    return RenderSummary(len(rows), len(performances), n_kits, dict(audio_s))


def _jobs_of(performance: Performance, params: RenderParams, directory: Path) -> Iterator[_Job]:
    style = re.sub(r"[^a-zA-Z0-9]+", "-", performance.style)
    name = f"{performance.id}_{style}_{performance.bpm:.0f}_{performance.beat_type}_{performance.time_signature}"
    for session in params.sessions:
        if session.splits != "all" and performance.split not in session.splits:
            continue
        for take in range(session.takes):
            stretches: list[tuple[float, float] | None] = [None]
            if session.segment_s is not None:
                stretches = [*_stretches(performance.last_onset_s, session.segment_s, take, session.takes)]
            for segment, stretch_s in enumerate(stretches):
                stem = directory / f"{name}_{session.name}_{take + 1}"
                if stretch_s is not None:
                    stem = stem.with_name(f"{stem.name}_{segment + 1}")
                yield _Job(performance, session, take, segment, stretch_s, stem)


def _stretches(last_onset_s: float, segment_s: float, take: int, n_takes: int) -> Iterator[tuple[float, float]]:
    """Cut a performance into stretches of at most `segment_s`, at other places in each take."""
    n = max(1, math.ceil(last_onset_s / segment_s))
    length = (last_onset_s + 1e-3) / n
    if n == 1:
        yield 0.0, length
        return
    shift = length * take / n_takes
    edges = [0.0, *(shift + index * length for index in range(n) if shift + index * length > 0), n * length]
    yield from itertools.pairwise(edges)


def _run_jobs(jobs: Sequence[_Job], setup: _Setup, n_workers: int) -> list[_Rendered]:
    """The kit and duration in seconds of each recording; duration 0 where the kit plays none of the notes."""
    if n_workers == 1:
        return [_render_job(job, setup) for job in track(jobs, description="rendering")]
    with worker_pool(n_workers, initializer=_set_up_worker, initargs=(setup,)) as pool:
        done = pool.map(_render_job_in_worker, jobs, chunksize=4)
        return list(track(done, description="rendering", total=len(jobs)))


# The setup of a worker process. It gets it once, when it starts, since kits are large.
_of_worker: list[_Setup] = []


def _set_up_worker(setup: _Setup) -> None:
    _of_worker[:] = [setup]


def _render_job_in_worker(job: _Job) -> _Rendered:
    return _render_job(job, _of_worker[0])


def _render_job(job: _Job, setup: _Setup) -> _Rendered:
    session, performance, params = job.session, job.performance, setup.params
    seeds = [params.seed, zlib.crc32(performance.id.encode()), zlib.crc32(session.name.encode())]
    group = setup.groups[session.kits]
    of_performance = np.random.default_rng(seeds)
    rng = np.random.default_rng([*seeds, job.take, job.segment])
    peak_dbfs = rng.uniform(*params.peak_dbfs)
    notes: Sequence[Note] = performance.notes
    parts: Sequence[Part] = performance.parts
    if job.stretch_s is not None:
        lead_s = rng.uniform(*_LEAD_S)
        notes = cut(notes, *job.stretch_s, lead_s=lead_s)
        parts = cut_parts(parts, *job.stretch_s, lead_s=lead_s)
        if len(notes) < _MIN_SEGMENT_NOTES:
            return _Rendered("", 0.0, performance.bpm)
    entries = of_performance.permutation(len(group.entries))
    entry = group.entries[entries[job.take % len(entries)]]
    kit = entry[int(rng.integers(len(entry)))]
    variation = _NO_VARIATION if session.variation is None else setup.variations[session.variation]
    bpm = performance.bpm
    if variation.playing is not None:
        notes, tempo = vary_playing(rng, notes, variation.playing, bpm=bpm)
        bpm *= tempo
        parts = faster_parts(parts, tempo)
    band = None
    if variation.band is not None:
        notes, band = draw_accompaniment(
            rng, notes, variation.band, bpm=bpm, n_beats=beats_per_bar(performance.time_signature), parts=parts
        )
    manner = None
    if variation.kit is not None:
        others, seconds = ([group.draw(rng, piece) for piece in PIECES] for _ in range(2))
        kit, manner = vary_kit(rng, kit, others, seconds, variation.kit)
    mix = sampler.mix(notes, kit, manner=manner)
    if not mix.played:
        return _Rendered(kit.name, 0.0, bpm)
    audio = mix.audio
    if variation.band is not None and band is not None:
        audio = add_band(audio, mix.played, variation.band, band, fonts=params.fonts_of(variation.band))
    if variation.production is not None:
        audio = add_surroundings(rng, audio, group.percussion, variation.production, bpm=bpm)
    audibility_db = measure_audibility(audio, mix.onsets, mix.heads)
    if variation.production is not None:
        audio = produce(rng, audio, variation.production)
    audio = sampler.normalised(audio, peak_dbfs=peak_dbfs)
    job.stem.parent.mkdir(parents=True, exist_ok=True)
    samples = np.rint(audio * np.float32(32767.0)).astype(np.int16)
    wav = io.BytesIO()  # not to the disk: libsndfile would report a full one as a "system error"
    soundfile.write(wav, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    job.stem.with_name(job.stem.name + ".wav").write_bytes(wav.getbuffer())
    midi = job.stem.with_name(job.stem.name + ".midi")
    write_midi(midi, mix.played, bpm=bpm, ticks_per_beat=SAMPLE_EXACT_TICKS)
    write_audibility(midi, mix.played, audibility_db.tolist())
    return _Rendered(kit.name, len(samples) / SAMPLE_RATE, bpm)


def _table_row(job: _Job, rendered: _Rendered, directory: Path) -> dict[str, Any]:
    performance, stem = job.performance, job.stem.relative_to(directory).as_posix()
    return {
        "drummer": performance.drummer,
        "session": performance.session,
        "id": performance.id,
        "style": performance.style,
        "bpm": f"{rendered.bpm:g}",
        "beat_type": performance.beat_type,
        "time_signature": performance.time_signature,
        "duration": f"{rendered.duration_s:.6f}",
        "split": performance.split,
        "midi_filename": f"{stem}.midi",
        "audio_filename": f"{stem}.wav",
        "kit_name": rendered.kit,
        CONDITION_COLUMN: job.session.condition,
    }
