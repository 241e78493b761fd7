"""Assigning performances to splits.

An official split is used as it is. Without one, performances are drawn at random, stratified by style.
"""

import fnmatch
import unicodedata
from collections import Counter
from collections.abc import Collection
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from drum_crnn.data.catalog import Catalog, CatalogEntry
from drum_crnn.data.splits import SPLITS, Split, SplitRow, Splits, check_no_leak, leak_error
from drum_crnn.foundation.console import warn
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.params import ParamsSection

__all__ = ["SplitParams", "make_splits"]

_MIN_PERFORMANCES = 3
# The splits that must have recordings, for each stage that reads them.
_NEEDED: dict[str, set[Split]] = {
    "train": {"train", "validation"},
    "tune-thresholds": {"validation"},
    "evaluate": {"test"},
}


class SplitParams(ParamsSection):
    """How performances are assigned to splits.

    Attributes
    ----------
    honour_official : bool
        Use the corpus's own split, if it has one; otherwise every performance is drawn anew.
    validation_fraction, test_fraction : float
        Fractions of the performances, if they are drawn.
    seed : int
        Random seed of the draw.
    held_out_kits : tuple of str
        Kits that are used only in the test split: names, or patterns such as "hydrogen/*".
    """

    section: ClassVar[str] = "split"

    honour_official: bool
    validation_fraction: Annotated[float, Field(gt=0.0, lt=1.0)]
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)]
    seed: Annotated[int, Field(ge=0)]
    held_out_kits: tuple[str, ...]

    @model_validator(mode="after")
    def _leave_some_for_training(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1.0:
            raise ValueError(
                "validation_fraction and test_fraction should add up to less than 1: the rest is for training"
            )
        return self


def make_splits(catalog: Catalog, params: SplitParams, *, left_out: Collection[str] = ()) -> Splits:
    """Put every recording of the catalog in one split.

    The official split is honoured if every recording has one. If none has, or `params.honour_official` is off,
    performances are drawn: stratified by style (the part before any `/`), in the fractions of `params`, at least one
    performance a split.

    Parameters
    ----------
    left_out : collection of str
        Recordings without labels; they are unused.

    Raises
    ------
    DrumCrnnError
        If a performance is in two splits, only some recordings have an official split, a pattern of held-out kits
        matches no kit, there are fewer than three performances to draw from, or no later stage could do anything. What
        a corpus of tests alone, for example, does not allow is a warning.
    """
    held_out = _held_out_kits(catalog, params.held_out_kits)
    n_official = sum(bool(entry.split) for entry in catalog)
    if params.honour_official and n_official:
        if n_official < len(catalog):
            raise DrumCrnnError(
                f"only {n_official} of {len(catalog)} recordings have an official split (the first without one is "
                f"'{next(entry.recording for entry in catalog if not entry.split)}'); complete the corpus's table, "
                "or set split.honour_official to false to draw all splits anew"
            )
        split_of = _official_splits(catalog)
    else:
        split_of = _draw_splits(catalog, params)
    rows = []
    for entry in catalog:
        split = split_of[entry.performance]
        if entry.recording in left_out or (entry.kit in held_out and split != "test"):
            split = "unused"
        rows.append(SplitRow(entry.recording, entry.performance, entry.kit, split))
    splits = Splits(tuple(rows))
    check_no_leak(splits)
    _check_splits(splits, meant=set(split_of.values()))
    return splits


def _check_splits(splits: Splits, *, meant: set[Split]) -> None:
    """Warn of stages that lack recordings, as on a corpus of tests alone.

    Raises
    ------
    DrumCrnnError
        If a split of `meant` lost all its recordings, or no stage can do anything with what there is.
    """
    empty = [split for split in SPLITS[:3] if not splits.recordings(split)]
    for split in empty:
        if split in meant:
            raise DrumCrnnError(
                f"the {split} split has no recordings left; check split.held_out_kits and the recordings that `label` "
                "left out"
            )
    stuck = [stage for stage, needed in _NEEDED.items() if needed & set(empty)]
    if len(stuck) == len(_NEEDED):
        raise DrumCrnnError(
            f"the {' and '.join(empty)} splits have no recordings, so there is nothing to train nor to evaluate with; "
            "check the corpus's table, or set split.honour_official to false to draw all splits anew"
        )
    if stuck:
        able = [stage for stage in _NEEDED if stage not in stuck]
        warn(
            f"no recording is in the {' and '.join(empty)} split, so {' and '.join(stuck)} will stop with an error; "
            f"{' and '.join(able)} can run alone, by `dvc repro --single-item STAGE`"
        )


def _held_out_kits(catalog: Catalog, patterns: tuple[str, ...]) -> set[str]:
    kits = {entry.kit for entry in catalog}
    held_out: set[str] = set()
    for pattern in patterns:
        fitting = {kit for kit in kits if fnmatch.fnmatchcase(kit, pattern)}
        if not fitting:
            normal = unicodedata.normalize("NFC", pattern)
            alike = [kit for kit in kits if fnmatch.fnmatchcase(unicodedata.normalize("NFC", kit), normal)]
            hint = (
                f" ('{alike[0]}' differs in its Unicode form alone: copy it from the corpus's table)" if alike else ""
            )
            raise DrumCrnnError(
                f"split.held_out_kits: '{pattern}' matches no kit of the corpus{hint}; its kits are "
                f"{', '.join(sorted(kits))}"
            )
        held_out |= fitting
    return held_out


def _official_splits(catalog: Catalog) -> dict[str, Split]:
    first: dict[str, CatalogEntry] = {}
    for entry in catalog:
        known = first.setdefault(entry.performance, entry)
        if known.split != entry.split:
            raise leak_error(entry.performance, (known.recording, known.split), (entry.recording, entry.split))
    return {performance: entry.split for performance, entry in first.items() if entry.split}


def _draw_splits(catalog: Catalog, params: SplitParams) -> dict[str, Split]:
    """Draw a split for each performance: the totals are exact, and each style's are within one of its proportion.

    Performances are lined up style by style, each style shuffled. Of this line, the test and the validation split get
    performances at equal distances (systematic sampling). Unlike folds, this keeps the proportions of rare styles and
    works for three performances as well as for thousands.
    """
    style_of = {entry.performance: entry.style.split("/")[0] for entry in catalog}
    n = len(style_of)
    if n < _MIN_PERFORMANCES:
        raise DrumCrnnError(
            f"the corpus has {n} usable performance{'' if n == 1 else 's'}; at least {_MIN_PERFORMANCES} are needed, "
            "one for each of train, validation and test"
        )
    rng = np.random.default_rng(params.seed)
    by_style: dict[str, list[str]] = {}
    for performance in sorted(style_of):
        by_style.setdefault(style_of[performance], []).append(performance)
    line: list[str] = []
    for index in rng.permutation(len(by_style)):
        members = by_style[sorted(by_style)[index]]
        line.extend(members[i] for i in rng.permutation(len(members)))

    n_test = _share(n, params.test_fraction, leave=2)
    n_validation = _share(n, params.validation_fraction, leave=1 + n_test)
    splits: dict[str, Split] = dict.fromkeys(line, "train")
    for performance in _every(line, n_test, rng):
        splits[performance] = "test"
    rest = [performance for performance in line if splits[performance] == "train"]
    for performance in _every(rest, n_validation, rng):
        splits[performance] = "validation"
    assert set(Counter(splits.values())) == {"train", "validation", "test"}
    return splits


def _share(n: int, fraction: float, *, leave: int) -> int:
    """The nearest count to `fraction` of `n` that is at least 1 and leaves `leave` for others."""
    return min(max(round(n * fraction), 1), n - leave)


def _every(line: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """`count` members of the line at equal distances, from a random start."""
    step = len(line) / count
    start = rng.uniform(0.0, step)
    return [line[min(int(start + i * step), len(line) - 1)] for i in range(count)]
