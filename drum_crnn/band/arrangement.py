"""Who plays when: sections of a few bars, sparse and dense, each with its harmony."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drum_crnn.band.grid import Grid
from drum_crnn.band.harmony import Harmony, draw_harmony

__all__ = ["Section", "arrange"]


@dataclass(frozen=True, slots=True)
class Section:
    """A verse, a chorus or a break.

    Attributes
    ----------
    first_bar, n_bars : int
        In bars of the grid.
    harmony : Harmony
    players : frozenset of str
        Who plays; empty where the drums are alone.
    energy : float
        From 0, few and soft notes, to 1.
    """

    first_bar: int
    n_bars: int
    harmony: Harmony
    players: frozenset[str]
    energy: float


def arrange(
    rng: np.random.Generator, grid: Grid, players: Sequence[str], *, alone: float, held_out: bool
) -> list[Section]:
    """Divide a song into sections.

    Parameters
    ----------
    players : sequence of str
        Everyone in the band.
    alone : float
        Share of the sections in which the drums are alone.
    held_out : bool
        Whether the progressions are those held out for tests.
    """
    key = int(rng.integers(12))
    harmonies = [draw_harmony(rng, key, held_out=held_out) for _ in range(3)]
    sections: list[Section] = []
    bar = 0
    while bar < grid.n_bars:
        length = int(rng.choice([2, 4, 4, 8]))
        energy, share = rng.uniform(0.2, 1.0), rng.uniform(0.5, 1.0)
        who = frozenset(player for player in players if rng.random() < share)
        is_alone = rng.random() < alone
        harmony = harmonies[int(rng.integers(len(harmonies)))]
        sections.append(Section(bar, length, harmony, frozenset() if is_alone else who, energy))
        bar += length
    return sections
