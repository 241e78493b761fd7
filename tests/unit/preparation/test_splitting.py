"""Making splits: no performance in two splits, none missing, and the same draw every time."""

import fnmatch
import unicodedata
from collections import Counter

import pytest
from corpus_builder import catalog_entry
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from drum_crnn.data.catalog import Catalog, CatalogEntry
from drum_crnn.data.splits import SPLITS, Splits
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.preparation.splitting import SplitParams, make_splits


def entry(performance: str, kit: str = "A", *, style: str = "rock", split: str = "") -> CatalogEntry:
    return catalog_entry(f"{performance}_{kit}", performance=performance, kit=kit, style=style, split=split)


def params(**changes: object) -> SplitParams:
    values = {
        "honour_official": True,
        "validation_fraction": 0.15,
        "test_fraction": 0.15,
        "seed": 1,
        "held_out_kits": (),
    }
    return SplitParams(**(values | changes))


def catalog_of(entries: list[CatalogEntry]) -> Catalog:
    return Catalog(tuple(sorted(entries, key=lambda each: each.recording)))


def splits_of_performances(splits: Splits) -> dict[str, str]:
    return {row.performance: row.split for row in splits if row.split != "unused"}


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    """At least three performances, each through some kits and "gm/B"; all have an official split, or none."""
    names = draw(st.lists(st.integers(0, 99), min_size=3, max_size=40, unique=True))
    official = draw(st.booleans())
    entries = []
    for i, name in enumerate(names):
        style = draw(st.sampled_from(["rock", "rock/groove1", "jazz", "funk", "latin/samba"]))
        kits = draw(st.sets(st.sampled_from(["gm/A", "hydrogen/C", "hydrogen/D"]))) | {"gm/B"}
        split = draw(st.sampled_from(SPLITS[:3])) if i >= 3 else SPLITS[i]
        entries += [entry(f"p{name}", kit, style=style, split=split if official else "") for kit in kits]
    return catalog_of(entries)


@settings(deadline=None)
@given(
    catalog=catalogs(),
    honour_official=st.booleans(),
    seed=st.integers(0, 5),
    fractions=st.sampled_from([(0.15, 0.15), (0.05, 0.3), (0.4, 0.5), (0.01, 0.01)]),
    held_out=st.sampled_from([(), ("hydrogen/*",), ("gm/A", "hydrogen/D")]),
)
def test_properties_of_every_split(
    catalog: Catalog, honour_official: bool, seed: int, fractions: tuple[float, float], held_out: tuple[str, ...]
) -> None:
    kits = {each.kit for each in catalog}
    assume(all(any(fnmatch.fnmatchcase(kit, pattern) for kit in kits) for pattern in held_out))
    chosen = params(
        honour_official=honour_official,
        seed=seed,
        validation_fraction=fractions[0],
        test_fraction=fractions[1],
        held_out_kits=held_out,
    )
    splits = make_splits(catalog, chosen)
    # Every recording once, in the catalog's order, with a true row.
    assert [(row.recording, row.performance, row.kit) for row in splits] == [
        (each.recording, each.performance, each.kit) for each in catalog
    ]
    assert sorted(recording for split in SPLITS for recording in splits.recordings(split)) == sorted(
        row.recording for row in splits
    )
    # No performance in two splits.
    of_split = {split: {row.performance for row in splits if row.split == split} for split in SPLITS}
    assert not of_split["train"] & of_split["validation"]
    assert not of_split["train"] & of_split["test"]
    assert not of_split["validation"] & of_split["test"]
    # Held-out kits: in the test split for its performances, and nowhere else.
    for row in splits:
        is_held_out = any(fnmatch.fnmatchcase(row.kit, pattern) for pattern in held_out)
        assert is_held_out or row.split != "unused"
        if is_held_out:
            assert row.split in ("test", "unused")
            assert (row.split == "test") == (row.performance in of_split["test"])
    assert all(of_split[split] for split in SPLITS[:3])
    assert make_splits(catalog, chosen) == splits


@settings(deadline=None)
@given(
    n_of_style=st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 30), min_size=1),
    fractions=st.tuples(st.floats(0.05, 0.4), st.floats(0.05, 0.4)),
    seed=st.integers(0, 1000),
)
def test_a_draw_is_exact_in_all_and_fair_to_each_style(
    n_of_style: dict[str, int], fractions: tuple[float, float], seed: int
) -> None:
    n = sum(n_of_style.values())
    assume(n >= 3)
    entries = [entry(f"{style}{i}", style=f"{style}/x") for style, count in n_of_style.items() for i in range(count)]
    chosen = params(validation_fraction=fractions[0], test_fraction=fractions[1], seed=seed)
    splits = splits_of_performances(make_splits(catalog_of(entries), chosen))
    n_of_split = Counter(splits.values())
    n_test = min(max(round(fractions[1] * n), 1), n - 2)
    n_validation = min(max(round(fractions[0] * n), 1), n - n_test - 1)
    assert n_of_split == {"test": n_test, "validation": n_validation, "train": n - n_test - n_validation}
    for style, count in n_of_style.items():
        here = Counter(split for performance, split in splits.items() if performance.startswith(style))
        assert abs(here["test"] - count * n_test / n) < 1 + 1e-9
        # Validation is drawn from what the test split leaves, which is itself within one of its share.
        assert abs(here["validation"] - count * n_validation / n) < 2


def test_the_draw_depends_on_the_seed_and_not_on_kits_or_their_number() -> None:
    names = [f"p{i:02d}" for i in range(40)]
    one = make_splits(catalog_of([entry(name) for name in names]), params())
    many = make_splits(catalog_of([entry(name, kit) for name in names for kit in "ABC"]), params())
    other = make_splits(catalog_of([entry(name) for name in names]), params(seed=2))
    assert splits_of_performances(one) == splits_of_performances(many)
    assert splits_of_performances(one) != splits_of_performances(other)


def test_the_official_split_is_honoured() -> None:
    entries = [entry(f"p{i}", kit, split=SPLITS[i % 3]) for i in range(9) for kit in "AB"]
    splits = make_splits(catalog_of(entries), params())
    assert {row.recording: row.split for row in splits} == {each.recording: each.split for each in entries}
    drawn = make_splits(catalog_of(entries), params(honour_official=False))
    assert drawn != splits


def test_an_official_split_that_leaks_is_an_error() -> None:
    entries = [entry(f"p{i}", split=SPLITS[i % 3]) for i in range(9)] + [entry("p4", "B", split="test")]
    with pytest.raises(
        DrumCrnnError, match=r"performance 'p4' is in two splits \('p4_A' in validation, 'p4_B' in test\)"
    ):
        make_splits(catalog_of(entries), params())
    assert len(make_splits(catalog_of(entries), params(honour_official=False))) == 10


def test_half_an_official_split_is_an_error_and_not_a_guess() -> None:
    entries = [entry(f"p{i}", split=SPLITS[i % 3] if i else "") for i in range(9)]
    with pytest.raises(DrumCrnnError, match=r"only 8 of 9 recordings have an official split \(.* is 'p0_A'\)"):
        make_splits(catalog_of(entries), params())
    assert len(make_splits(catalog_of(entries), params(honour_official=False))) == 9


@pytest.mark.parametrize(
    ("held", "empty", "stuck", "able"),
    [
        (["test"], "train and validation", "train and tune-thresholds", "evaluate"),
        (["validation"], "train and test", "train and evaluate", "tune-thresholds"),
        (["train", "validation"], "test", "evaluate", "train and tune-thresholds"),
        (["train", "test"], "validation", "train and tune-thresholds", "evaluate"),
    ],
)
def test_an_official_split_may_lack_what_some_stages_need(
    held: list[str], empty: str, stuck: str, able: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A published test set has tests alone."""
    splits = make_splits(catalog_of([entry(f"p{i}", split=held[i % len(held)]) for i in range(9)]), params())
    assert {row.split for row in splits.rows} == set(held)
    assert capsys.readouterr().err == (
        f"warning: no recording is in the {empty} split, so {stuck} will stop with an error; {able} can run alone, by "
        "`dvc repro --single-item STAGE`\n"
    )


def test_all_splits_give_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    make_splits(catalog_of([entry(f"p{i}", split=SPLITS[i % 3]) for i in range(9)]), params())
    assert capsys.readouterr().err == ""


def test_training_recordings_alone_are_an_error() -> None:
    catalog = catalog_of([entry(f"p{i}", split="train") for i in range(9)])
    with pytest.raises(DrumCrnnError, match="the validation and test splits have no recordings, so there is nothing"):
        make_splits(catalog, params())
    assert {row.split for row in make_splits(catalog, params(honour_official=False)).rows} == set(SPLITS[:3])


def test_a_split_that_loses_all_its_recordings_is_an_error() -> None:
    catalog = catalog_of([entry(f"p{i}", split=SPLITS[i % 3]) for i in range(9)])
    lost = [row.recording for row in catalog if row.split == "test"]
    with pytest.raises(DrumCrnnError, match=r"the test split has no recordings left; check split\.held_out_kits and"):
        make_splits(catalog, params(), left_out=lost)


def test_held_out_kits_are_used_only_in_the_test_split() -> None:
    entries = [entry(f"p{i}", kit, split=SPLITS[i % 3]) for i in range(6) for kit in ("gm/A", "hydrogen/B")]
    splits = make_splits(catalog_of(entries), params(held_out_kits=("hydrogen/*",)))
    assert {(row.split, row.kit) for row in splits} == {
        ("train", "gm/A"),
        ("validation", "gm/A"),
        ("test", "gm/A"),
        ("test", "hydrogen/B"),
        ("unused", "hydrogen/B"),
    }


def test_a_pattern_of_held_out_kits_that_matches_none_is_an_error() -> None:
    catalog = catalog_of([entry(f"p{i}", "gm/A") for i in range(9)])
    with pytest.raises(DrumCrnnError, match=r"held_out_kits: 'GM/\*' matches no kit of the corpus; its kits are gm/A"):
        make_splits(catalog, params(held_out_kits=("GM/*",)))
    with pytest.raises(DrumCrnnError, match="the train split has no recordings"):
        make_splits(catalog, params(held_out_kits=("gm/*",)))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_performances_cannot_be_split(n: int) -> None:
    with pytest.raises(DrumCrnnError, match=f"has {n} usable performance"):
        make_splits(catalog_of([entry(f"p{i}") for i in range(n)]), params())


def test_params_leave_some_for_training() -> None:
    values = {"honour_official": True, "validation_fraction": 0.5, "test_fraction": 0.5, "seed": 0, "held_out_kits": []}
    with pytest.raises(DrumCrnnError, match="should add up to less than 1"):
        SplitParams.check(values, source="params.yaml")
    assert SplitParams.check(values | {"test_fraction": 0.4, "held_out_kits": ["a/*"]}, source="").held_out_kits == (
        "a/*",
    )


def test_recordings_without_labels_are_unused() -> None:
    catalog = catalog_of([entry(f"p{i}", kit) for i in range(5) for kit in "AB"])
    splits = make_splits(catalog, params(), left_out={"p0_A", "p3_B"})
    assert {row.recording for row in splits if row.split == "unused"} == {"p0_A", "p3_B"}
    others = {row.recording: row.split for row in make_splits(catalog, params())}
    assert all(row.split in (others[row.recording], "unused") for row in splits)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_held_out_kit_in_another_unicode_form_gets_a_hint(form: str) -> None:
    kit = unicodedata.normalize(form, "Café")
    other = unicodedata.normalize("NFD" if form == "NFC" else "NFC", kit)
    catalog = catalog_of([entry(f"p{i}", kit) for i in range(4)])
    with pytest.raises(DrumCrnnError, match=rf"'{other}' matches no kit .*'{kit}' differs in its Unicode form alone"):
        make_splits(catalog, params(held_out_kits=(other,)))
