"""Generated performances: a drummer made of pattern tables and habits.

A performance is built in four steps, each a module:

1. a *form*: intro, verses, choruses and bridges of a few bars, in phrases (`form`);
2. *bars*: a written groove of the style, varied from bar to bar, with fills at the ends of phrases and crashes where a
   section starts (`strokes`, `fills`, `form`);
3. *playing*: swing, drift and habits of the limbs move every stroke in time; metre and form shape its strength; flams
   and drags get their grace notes (`drummer`);
4. *limits of the body*: two hands and two feet, none faster than a person's (`playable`).

The patterns are in `drum_crnn.studio.styles`.
"""

import numpy as np

from drum_crnn.data.corpus import OFFICIAL_SPLITS
from drum_crnn.music.midi import Note
from drum_crnn.studio.drummer import draw_player, humanise
from drum_crnn.studio.form import play_exercise, play_fills, play_form
from drum_crnn.studio.groove_params import GrooveParams
from drum_crnn.studio.performances import Performance
from drum_crnn.studio.playable import keep_playable
from drum_crnn.studio.styles import STYLES, Style

__all__ = [
    "generate_performances",
]


def generate_performances(params: GrooveParams, *, seed: int) -> list[Performance]:
    """Generate `params.performances` performances; the styles take turns.

    Each performance has its own random stream. So performance i does not depend on `params.performances`, and two
    performances have nothing in common but the patterns of their style.

    Parameters
    ----------
    params : GrooveParams
    seed : int
        Not negative (numpy raises ValueError). The same seed and parameters give the same performances.

    Returns
    -------
    list of Performance
        Ids are "STYLE/NUMBER". Beats last between the two `params.seconds`, rounded down to whole bars (at least one);
        fills are one or two bars. Notes are sorted; the first one is 0.1 to 0.5 s after the start. Within each style,
        the splits have the shares of `params.split`.
    """
    offset = seed % _SPLIT_CYCLE
    performances = []
    turns = _split_turns(params.split, offset + len(params.styles) + params.performances // len(params.styles) + 1)
    for index in range(params.performances):
        turn, style = divmod(index, len(params.styles))
        # Each style and each turn start one step further, so that even few performances cover all splits.
        split = turns[offset + style + turn]
        rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
        performances.append(_perform(params.styles[style], index=index, split=split, params=params, rng=rng))
    return performances


def _perform(name: str, *, index: int, split: str, params: GrooveParams, rng: np.random.Generator) -> Performance:
    style = STYLES[name]
    bpm = _draw_tempo(style, params.tempo_bpm, rng)
    player = draw_player(style, params, rng)
    n_bars = max(1, int(rng.uniform(*params.seconds) * bpm / 60.0 / style.beats))
    is_fill = bool(rng.random() < params.fill_performances)
    if is_fill:
        strokes = play_fills(style, bpm=bpm, rng=rng)
    elif name == "exercise":
        strokes = play_exercise(style, n_bars=n_bars, rng=rng)
    else:
        strokes = play_form(style, n_bars=n_bars, bpm=bpm, params=params, rng=rng)
    hits = keep_playable(humanise(strokes, style=style, player=player, bpm=bpm, params=params, rng=rng))
    lead_in = float(rng.uniform(0.1, 0.5)) - hits[0].time_s
    return Performance(
        id=f"{name}/{index:04d}",
        drummer="generator",
        session=name,
        style=name,
        bpm=bpm,
        beat_type="fill" if is_fill else "beat",
        time_signature=style.time_signature,
        split=split,
        # Rounded to microseconds, because the last bits of exp() differ between machines.
        notes=tuple(sorted(Note(round(hit.time_s + lead_in, 6), hit.note, hit.velocity) for hit in hits)),
    )


def _draw_tempo(style: Style, bounds: tuple[float, float], rng: np.random.Generator) -> float:
    """A tempo (bpm) of the style within `bounds`; the nearest bound if the style has no tempo there."""
    low, high = (float(np.clip(tempo, *bounds)) for tempo in style.tempo)
    return float(np.clip(round(rng.uniform(low, high), 1), low, high))


_SPLIT_CYCLE = 20  # turns after which shares that are multiples of 1/20 are exact


def _split_turns(shares: tuple[float, float, float], n_turns: int) -> list[str]:
    """The split of each turn: the one that is furthest behind its share."""
    turns: list[str] = []
    for n in range(1, n_turns + 1):
        behind = [share * n - turns.count(name) for share, name in zip(shares, OFFICIAL_SPLITS, strict=True)]
        turns.append(OFFICIAL_SPLITS[int(np.argmax(np.round(behind, 9)))])
    return turns
