import io
import math

import numpy as np
from builders import onsets
from PIL import Image

from drum_crnn.music.onsets import IgnoreWindows, Onsets
from drum_crnn.scoring.metrics import Matches, match_onsets
from drum_crnn.scoring.rolls import EXTRA, FOUND, MISSED, choose_rolls, paint_rolls

KICK, RIDE = 0, 7
LEFT, PIXELS_A_SECOND = 84, 80


def matches(reference: Onsets, estimate: Onsets) -> Matches:
    return match_onsets(reference, estimate, IgnoreWindows.empty(), tolerance_s=0.05)


def where(picture: Image.Image, colour: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Upper left corners of the marks in a colour, from left to right; those of the legend left out."""
    is_it = (np.asarray(picture) == np.array(colour)).all(axis=2)
    is_it[:60] = False
    before = np.pad(is_it, ((1, 0), (1, 0)))
    corner = is_it & ~before[:-1, 1:] & ~before[1:, :-1]
    return sorted((int(x), int(y)) for y, x in zip(*np.nonzero(corner), strict=True))


def test_marks_stand_at_their_times_in_the_half_that_they_belong_to() -> None:
    # A kick that is found 25 ms late, one that is missed, and a ride that nobody played.
    picture = paint_rolls([("one", matches(onsets((0.5, KICK), (2.0, KICK)), onsets((0.525, KICK), (3.0, RIDE))))])
    (reference_x, reference_y), (estimate_x, estimate_y) = where(picture, FOUND)
    [(missed_x, missed_y)] = where(picture, MISSED)
    [(extra_x, extra_y)] = where(picture, EXTRA)
    middle = LEFT - 1  # a mark is three pixels wide
    assert reference_x == middle + 0.5 * PIXELS_A_SECOND
    assert estimate_x == middle + 0.525 * PIXELS_A_SECOND
    assert missed_x == middle + 2.0 * PIXELS_A_SECOND
    assert extra_x == middle + 3.0 * PIXELS_A_SECOND
    assert missed_y == reference_y < estimate_y
    # The ride is seven rows further down.
    assert (extra_y - estimate_y) % 7 == 0
    assert extra_y > estimate_y


def test_an_excerpt_begins_with_the_second_of_the_first_onset() -> None:
    early = matches(onsets((0.25, KICK), (30.0, KICK)), onsets())
    late = matches(onsets((20.25, KICK), (50.0, KICK)), onsets())
    [seen], [of_late] = (where(paint_rolls([("it", each)]), MISSED) for each in (early, late))
    assert seen == of_late


def test_best_median_and_worst_are_chosen_each_once() -> None:
    f_of = {"silence": math.nan, "best": 0.8, "also best": 0.8, "median": 0.5, "worst": 0.0}
    assert choose_rolls(f_of) == {
        "also best": "best of 4: also best, F 0.800",  # equal ones are ordered by name
        "median": "median of 4: median, F 0.500",
        "worst": "worst of 4: worst, F 0.000",
    }
    assert choose_rolls(dict(reversed(f_of.items()))) == choose_rolls(f_of)
    assert list(choose_rolls({"one": 0.25, "silence": math.nan})) == ["one"]
    assert choose_rolls({"silence": math.nan}) == {}


def test_each_roll_has_a_place_of_its_own() -> None:
    played = onsets((0.5, KICK), (1.0, KICK), (1.5, KICK))
    rolls = [(f"{n} found", matches(played, played.where(np.arange(3) < n))) for n in (2, 1, 0)]
    picture = paint_rolls(rolls)
    assert len(where(picture, FOUND)) == 2 * (2 + 1 + 0)
    assert len(where(picture, MISSED)) == 1 + 2 + 3
    assert picture.height > 2 * paint_rolls(rolls[:1]).height


def test_it_is_a_small_file() -> None:
    rng = np.random.default_rng(0)
    many = Onsets.in_order(rng.uniform(0, 8, 300), rng.integers(0, 8, 300), np.full(300, 90))
    others = Onsets.in_order(rng.uniform(0, 8, 300), rng.integers(0, 8, 300), np.full(300, 90))
    assert len(png(paint_rolls([(name * 30, matches(many, others)) for name in "abc"]))) < 100_000


def test_nothing_to_draw_is_said() -> None:
    [colours] = [paint_rolls([]).getcolors(1 << 20)]
    assert colours is not None
    assert where(paint_rolls([]), MISSED) == []


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
