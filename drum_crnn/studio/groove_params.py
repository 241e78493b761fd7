"""Section `render.grooves` of `params.yaml`: which performances to generate."""

import difflib
import math
from typing import Annotated, Self

from pydantic import Field, model_validator

from drum_crnn.data.corpus import OFFICIAL_SPLITS
from drum_crnn.foundation.params import StrictModel
from drum_crnn.studio.styles import STYLES

__all__ = [
    "GrooveParams",
]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Amount = Annotated[float, Field(ge=0.0, le=2.0)]
Bpm = Annotated[float, Field(ge=30.0, le=300.0)]


class GrooveParams(StrictModel):
    """Which performances to generate.

    Attributes
    ----------
    performances : int
        Their number; the styles take turns.
    seconds : (float, float)
        Shortest and longest performance that is not a fill, s.
    tempo_bpm : (float, float)
        Slowest and fastest tempo, quarter notes a minute; each style keeps to its own range within these.
    styles : tuple of str
        Names from `STYLES`.
    fill_performances : float
        Share of performances that are one fill of a bar or two.
    swing, timing, velocity, ghosts, flams : float
        Amounts: 0 switches a habit off, and plays triplets, grid and strengths as written; 1 is what people do;
        2 is twice as much. `flams` includes drags and ruffs.
    fills : float
        Chance of a fill at the end of a phrase.
    split : (float, float, float)
        Shares of train, validation and test; they sum to 1.
    """

    performances: int = Field(ge=1)
    seconds: tuple[Annotated[float, Field(gt=0.0)], Annotated[float, Field(gt=0.0, le=3600.0)]]
    tempo_bpm: tuple[Bpm, Bpm]
    styles: tuple[str, ...] = Field(min_length=1)
    fill_performances: Share
    swing: Amount
    timing: Amount
    velocity: Amount
    ghosts: Amount
    flams: Amount
    fills: Share
    split: tuple[Share, Share, Share]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("seconds", "tempo_bpm"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} should be [lowest, highest], found [{low:g}, {high:g}]")
        for style in self.styles:
            if style not in STYLES:
                near = difflib.get_close_matches(style, STYLES, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(STYLES)}"
                raise ValueError(f"styles: '{style}' is unknown; {hint}")
        if len(set(self.styles)) < len(self.styles):
            raise ValueError("styles names a style twice")
        if not math.isclose(sum(self.split), 1.0, abs_tol=1e-6):
            raise ValueError(
                f"split should be shares of {', '.join(OFFICIAL_SPLITS)} that sum to 1, found {sum(self.split):g}"
            )
        return self
