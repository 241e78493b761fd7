"""Make the pictures of docs/studio.md: what each effect of the studio does to one short recording.

    python scripts/studio_pictures.py

They show two bars of rock on the Standard kit of pretty_midi's SoundFont, before and after an effect. The functions are
those that render corpora. In each picture, one effect of the variation `studio` acts, always and by a fixed amount; all
others are off. The same code makes the same pictures. Needs the extra `dev` (matplotlib, pedalboard).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import librosa
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from drum_crnn.foundation.console import say
from drum_crnn.foundation.params import Effect, StrictModel
from drum_crnn.music.lanes import LANE_OF_NOTE, LANES
from drum_crnn.music.log_mel import FeatureParams, LogMel
from drum_crnn.music.midi import Note
from drum_crnn.studio.kits import SAMPLE_RATE, FloatArray, Kit
from drum_crnn.studio.playing import PlayingVariation, vary_playing
from drum_crnn.studio.production import ProductionVariation, add_surroundings, produce
from drum_crnn.studio.rendering import load_variations
from drum_crnn.studio.sampler import mix, normalised
from drum_crnn.studio.sources import open_kits
from drum_crnn.studio.variation import PIECES, KitVariation, vary_kit

FOLDER = Path(__file__).parents[1] / "docs" / "studio"
KIT = "pretty_midi:TimGM6mb#Standard"
OTHER_KIT = "pretty_midi:TimGM6mb#TR 808"
BPM = 120.0
DURATION_S = 4.4
LEAD_S = 0.1
PEAK_DBFS = -1.0

DPI = 100
COLOURS = matplotlib.colormaps["magma"].resampled(56)
N_GREYS = 24  # of text, frames and notes; a file has these and the colours above
LOWEST_DB, HIGHEST_DB = -80.0, 0.0  # of all spectrograms
TICKS_HZ = (50, 100, 200, 500, 1000, 2000, 5000, 10000)
MIN_TICK_BANDS = 5  # ticks closer than this are left out
LANE_LABELS = {"high_tom": "high tom", "mid_tom": "mid tom", "low_tom": "low tom", "hihat": "hi-hat"}

Variation = TypeVar("Variation", bound=StrictModel)


@dataclass(frozen=True, slots=True)
class Shown:
    """One effect in a picture: its range, the panel's title, the seed, and the number of bands (None: all)."""

    name: str
    range: tuple[float, float]
    title: str
    seed: int = 0
    n_bands: int | None = None


OF_KITS = (
    Shown("mix_kits", (1.0, 1.0), "mix_kits: every piece from the TR-808"),
    Shown("gain", (-4.5, 4.5), "gain: each piece by −4.5 to 4.5 dB", seed=54),
    Shown("blend", (0.0, 0.0), "blend: the TR-808 as loud, 0 dB"),
    Shown("eq", (9.0, 9.0), "eq: four bands a piece within ±9 dB", seed=3),
    Shown("pitch", (-3.0, -3.0), "pitch: −3 semitones"),
    Shown("decay_s", (0.15, 0.15), "decay_s: 0.15 s"),
    Shown("ring", (3.0, 3.0), "ring: 3 dB"),
    Shown("gated_reverb", (2.0, 2.0), "gated_reverb: 2 dB"),
)
OF_PRODUCTION = (
    Shown("percussion", (-4.0, -4.0), "percussion: −4 dB", seed=4),
    Shown("leakage", (-15.0, -15.0), "leakage: −15 dB"),
    Shown("noise", (-30.0, -30.0), "noise: −30 dB"),
    Shown("room", (-4.0, -4.0), "room: −4 dB, 1.2 s"),
    Shown("eq", (9.0, 9.0), "eq: four bands within ±9 dB", seed=54),
    Shown("low_cut", (120.0, 120.0), "low_cut: 120 Hz", n_bands=12),
    Shown("high_cut", (5000.0, 5000.0), "high_cut: 5 kHz"),
    Shown("compressor", (30.0, 30.0), "compressor: 30 dB"),
    Shown("saturation", (12.0, 12.0), "saturation: 12 dB"),
    Shown("mp3", (9.0, 9.0), "mp3: quality 9"),
)
OF_PLAYING = (
    Shown("tempo", (1.25, 1.25), "tempo: 1.25"),
    Shown("velocity_lift", (0.8, 0.8), "velocity_lift: 0.8"),
    Shown("crash_hats", (1.0, 1.0), "crash_hats: 1"),
    Shown("tom_snares", (0.7, 0.7), "tom_snares: 0.7", seed=1),
    Shown("added_crashes", (0.4, 0.4), "added_crashes: 0.4", seed=1),
)


def main() -> None:
    """Make all pictures."""
    variation = load_variations()["studio"]
    if variation.playing is None or variation.kit is None or variation.production is None:
        raise SystemExit("variations.yaml: studio needs playing, kit and production")
    [kit], [other] = open_kits(KIT), open_kits(OTHER_KIT)
    log_mel = LogMel(FeatureParams.load())
    plain = normalised(mix(rock(), kit, duration_s=DURATION_S).audio, peak_dbfs=PEAK_DBFS)
    FOLDER.mkdir(parents=True, exist_ok=True)

    def compare(shown: Shown, audio: FloatArray, *, name: str) -> None:
        after = normalised(audio, peak_dbfs=PEAK_DBFS)
        save(spectrograms([("as it is", plain), (shown.title, after)], log_mel, n_bands=shown.n_bands), name)

    for shown in OF_KITS:
        varied = on_varied_kit(kit, other, alone(variation.kit, shown), seed=shown.seed)
        compare(shown, varied, name=f"kit_{shown.name}")
    for shown in OF_PRODUCTION:
        compare(shown, produced(plain, kit, alone(variation.production, shown), seed=shown.seed), name=shown.name)
    save(note_panels(variation.playing), "playing")
    files = sorted(FOLDER.glob("*.png"))
    say(f"{len(files)} pictures in {FOLDER}, {sum(file.stat().st_size for file in files) / 1000:.0f} kB")


def rock() -> list[Note]:
    """Two bars: a crash, hi-hat in eighths with two open ones, kick, snare with ghost notes, toms at the end."""
    # Note, velocity, and places in sixteenths from the beginning.
    strokes = (
        (49, 112, (0,)),
        (42, 92, (4, 8, 12, 16, 20)),
        (42, 66, (2, 6, 10, 18, 22)),
        (46, 88, (14,)),
        (36, 108, (0, 8, 10, 16, 24)),
        (38, 110, (4, 12, 20)),
        (38, 36, (7, 9, 15, 19)),
        (50, 100, (24, 25)),
        (47, 100, (26, 27)),
        (43, 105, (28, 29, 30)),
    )
    return sorted(
        Note(LEAD_S + place * 15.0 / BPM, note, velocity) for note, velocity, places in strokes for place in places
    )


def alone(variation: Variation, shown: Shown) -> Variation:
    """The variation with every effect off but one, which always acts."""
    values = variation.model_dump()
    for name in values:
        if isinstance(getattr(variation, name), Effect):
            values[name]["enabled"] = False
    values[shown.name] = {"enabled": True, "probability": 1.0, "range": shown.range}
    if shown.name == "room":
        values["room_decay_s"] = (1.2, 1.2)
    if isinstance(variation, PlayingVariation | KitVariation):
        values |= {"enabled": True, "probability": 1.0}
    return variation.model_validate(values)


def on_varied_kit(kit: Kit, other: Kit, params: KitVariation, *, seed: int) -> FloatArray:
    """The bars on a varied kit."""
    others = [other] * len(PIECES)
    varied, manner = vary_kit(np.random.default_rng(seed), kit, others, others, params)
    return mix(rock(), varied, manner=manner, duration_s=DURATION_S).audio


def produced(audio: FloatArray, kit: Kit, params: ProductionVariation, *, seed: int) -> FloatArray:
    """The bars after production."""
    rng = np.random.default_rng(seed)
    return produce(rng, add_surroundings(rng, audio, kit.percussion, params, bpm=BPM), params)


def spectrograms(panels: Sequence[tuple[str, FloatArray]], log_mel: LogMel, *, n_bands: int | None) -> Figure:
    """Log-mel spectrograms side by side, on one scale: the lowest `n_bands` bands, or all."""
    params = log_mel.params
    n_bands = n_bands or params.n_mels
    centres_hz = librosa.mel_frequencies(params.n_mels + 2, fmin=params.fmin, fmax=params.fmax)[1:-1]
    ticks: dict[int, float] = {}  # Hz: place
    for hz in reversed(TICKS_HZ):
        place = float(np.interp(hz, centres_hz, np.arange(params.n_mels)))
        if place < n_bands and min(ticks.values(), default=np.inf) - place >= MIN_TICK_BANDS * n_bands / params.n_mels:
            ticks[hz] = place
    figure = Figure(figsize=(9.0, 3.0), dpi=DPI, layout="constrained")
    axes: Sequence[Axes] = figure.subplots(1, len(panels), sharey=True)
    for axis, (title, audio) in zip(axes, panels, strict=True):
        image = axis.imshow(
            log_mel(audio).T[:n_bands],
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap=COLOURS,
            vmin=LOWEST_DB,
            vmax=HIGHEST_DB,
            extent=(0.0, audio.size / SAMPLE_RATE, -0.5, n_bands - 0.5),
        )
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("s", fontsize=9)
        axis.tick_params(labelsize=8)
    axes[0].set_yticks(list(ticks.values()), [f"{hz / 1000:g}k" if hz >= 1000 else str(hz) for hz in ticks])
    axes[0].set_ylabel("Hz", fontsize=9)
    bar = figure.colorbar(image, ax=list(axes), pad=0.01, aspect=30)
    bar.set_label("dB", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def note_panels(params: PlayingVariation) -> Figure:
    """Notes in lanes: as played, and with one effect in each panel. Louder notes are larger and darker."""
    panels: list[tuple[str, list[Note]]] = [("as played", rock())]
    for shown in OF_PLAYING:
        panels.append(
            (
                shown.title,
                vary_playing(np.random.default_rng(shown.seed), rock(), alone(params, shown), bpm=120.0).notes,
            )
        )
    figure = Figure(figsize=(9.0, 4.2), dpi=DPI, layout="constrained")
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    for axis, (title, notes) in zip(grid.flat, panels, strict=True):
        velocity = np.array([note.velocity for note in notes])
        lanes = [LANE_OF_NOTE[note.note] for note in notes]
        axis.scatter(
            [note.time_s for note in notes], lanes, s=velocity * 0.45, c=velocity, cmap="Greys", vmin=-30, vmax=127
        )
        axis.set_title(title, fontsize=10)
        axis.tick_params(labelsize=8)
        axis.set_xlim(0.0, DURATION_S)
        axis.grid(axis="y", alpha=0.3)
        axis.set_axisbelow(True)
    grid[0, 0].set_ylim(-0.7, len(LANES) - 0.3)
    grid[0, 0].set_yticks(range(len(LANES)), [LANE_LABELS.get(lane, lane) for lane in LANES])
    for axis in grid[1]:
        axis.set_xlabel("s", fontsize=9)
    return figure


def save(figure: Figure, name: str) -> None:
    """Write a figure as a PNG whose palette is the colour scale and greys."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    greys = np.linspace(0.0, 1.0, N_GREYS)[:, None].repeat(3, axis=1)
    colours = np.concatenate([COLOURS(range(COLOURS.N))[:, :3], greys])
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.rint(colours * 255).astype(np.uint8).tobytes())
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
