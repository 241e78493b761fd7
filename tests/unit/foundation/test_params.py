"""Parameters: what is wrong is said with file, section and key, and what to write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from dvc.utils.serialize import dump_yaml, load_yaml, modify_yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator
from yaml_files import yaml_of

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.params import Effect, ParamsSection, StrictModel, read_yaml


class Mask(StrictModel):
    """A nested group."""

    enabled: bool
    max_width: int = Field(ge=1)


class StudyParams(ParamsSection):
    """A section with one of everything."""

    section: ClassVar[str] = "study"

    learning_rate: float = Field(gt=0)
    epochs: int = Field(gt=0)
    processes: int | Literal["auto"]
    limit: int | None
    channels: tuple[int, ...]
    folder: Path
    mask: Mask

    @model_validator(mode="after")
    def _check(self) -> "StudyParams":
        if self.epochs == 13:
            raise ValueError("epochs should not be 13")
        return self


GOOD: dict[str, Any] = {
    "learning_rate": 0.001,
    "epochs": 10,
    "processes": "auto",
    "limit": None,
    "channels": [16, 32],
    "folder": "data/rendered",
    "mask": {"enabled": True, "max_width": 8},
}


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], StudyParams]:
    """Loads the section from a file with the given text."""

    def load(text: str) -> StudyParams:
        (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
        return StudyParams.load(tmp_path / "params.yaml")

    return load


def message_of(load: Callable[[str], StudyParams], values: Any) -> str:
    """What is said of the section `values`, without the file's folder."""
    with pytest.raises(DrumCrnnError) as error:
        load(yaml_of({"study": values}))
    lines = str(error.value).splitlines()
    assert all("/params.yaml: study" in line for line in lines), "every line names file and section"
    return "\n".join(line[line.index("params.yaml") :] for line in lines)


@pytest.mark.parametrize("text", ["1e-05", "5E-3", "1e+2", "2.e1", "1_000.5", "0.00001"])
def test_numbers_are_read_as_dvc_reads_and_writes_them(
    load: Callable[[str], StudyParams], tmp_path: Path, text: str
) -> None:
    """`dvc exp run -S study.learning_rate=0.00001` writes 1e-05, which some readers of YAML take for text."""
    number = float(text)
    assert load(yaml_of({"study": GOOD}).replace("0.001", text)).learning_rate == number
    assert load_yaml(str(tmp_path / "params.yaml"))["study"]["learning_rate"] == number
    with modify_yaml(str(tmp_path / "params.yaml")) as params:
        params["study"]["learning_rate"] = number  # as an override does
    assert StudyParams.load(tmp_path / "params.yaml").learning_rate == number


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False), st.integers(1, 10**9))
def test_whatever_dvc_writes_is_read(tmp_path_factory: pytest.TempPathFactory, rate: float, epochs: int) -> None:
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    dump_yaml(str(path), {"study": GOOD | {"learning_rate": rate, "epochs": epochs}})
    params = StudyParams.load(path)
    assert (params.learning_rate, params.epochs) == (rate, epochs)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("epochs", "010", 10),  # 8 in YAML 1.1
        ("epochs", "0o10", 8),
        ("epochs", "0x10", 16),
        ("epochs", "1_000", 1000),
        ("limit", "~", None),
        ("limit", "", None),
        ("folder", "yes", Path("yes")),  # true in YAML 1.1, and so for the three after it
        ("folder", "no", Path("no")),
        ("folder", "on", Path("on")),
        ("folder", "OFF", Path("OFF")),
        ("folder", "12:30", Path("12:30")),  # 750 in YAML 1.1
    ],
)
def test_values_are_those_of_yaml_1_2(load: Callable[[str], StudyParams], key: str, text: str, value: Any) -> None:
    lines = [
        f"  {key}: {text}" if line.startswith(f"  {key}:") else line for line in yaml_of({"study": GOOD}).split("\n")
    ]
    assert getattr(load("\n".join(lines)), key) == value


@pytest.mark.parametrize(("word", "meant"), [("yes", "true"), ("On", "true"), ("no", "false"), ("OFF", "false")])
def test_a_switch_is_true_or_false(load: Callable[[str], StudyParams], word: str, meant: str) -> None:
    text = yaml_of({"study": GOOD}).replace("enabled: true", f"enabled: {word}")
    with pytest.raises(
        DrumCrnnError, match=rf"study\.mask\.enabled: '{word}' is text; write {meant} without quotation"
    ):
        load(text)


def test_a_sound_section_is_loaded_and_others_are_not_looked_at(load: Callable[[str], StudyParams]) -> None:
    params = load(yaml_of({"study": GOOD, "other": {"anything": "goes"}}))
    assert params == StudyParams(
        learning_rate=0.001,
        epochs=10,
        processes="auto",
        limit=None,
        channels=(16, 32),
        folder=Path("data/rendered"),
        mask=Mask(enabled=True, max_width=8),
    )
    assert load(yaml_of({"study": GOOD | {"learning_rate": 1, "processes": 2}})).learning_rate == 1.0
    with pytest.raises(ValidationError, match="frozen"):
        params.epochs = 11


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rat": 1}, "params.yaml: study.learning_rat: unknown key; did you mean 'learning_rate'?"),
        (
            {"zzz": 1},
            "params.yaml: study.zzz: unknown key; "
            "known: learning_rate, epochs, processes, limit, channels, folder, mask",
        ),
        (
            {"learning_rate": "0.001"},
            "params.yaml: study.learning_rate: '0.001' is text; write 0.001 without quotation marks",
        ),
        ({"epochs": "10"}, "params.yaml: study.epochs: '10' is text; write 10 without quotation marks"),
        (
            {"channels": [16, "32"]},
            "params.yaml: study.channels[1]: '32' is text; write 32 without quotation marks",
        ),
        ({"epochs": "2.5"}, 'params.yaml: study.epochs: Input should be a valid integer (found "2.5")'),
        ({"learning_rate": "nan"}, 'params.yaml: study.learning_rate: Input should be a valid number (found "nan")'),
        ({"learning_rate": "fast"}, 'params.yaml: study.learning_rate: Input should be a valid number (found "fast")'),
        ({"learning_rate": 0.0}, "params.yaml: study.learning_rate: Input should be greater than 0 (found 0.0)"),
        (
            {"learning_rate": float("inf")},
            "params.yaml: study.learning_rate: Input should be a finite number (found Infinity)",
        ),
        (
            {"learning_rate": float("nan")},
            "params.yaml: study.learning_rate: Input should be a finite number (found NaN)",
        ),
        ({"epochs": 10.0}, "params.yaml: study.epochs: Input should be a valid integer (found 10.0)"),
        ({"epochs": True}, "params.yaml: study.epochs: Input should be a valid integer (found true)"),
        ({"epochs": None}, "params.yaml: study.epochs: Input should be a valid integer (found null)"),
        ({"epochs": 13}, "params.yaml: study: epochs should not be 13"),
        ({"channels": 16}, "params.yaml: study.channels: Input should be a valid array (found 16)"),
        ({"mask": 3}, "params.yaml: study.mask: should be a group of the keys enabled, max_width (found 3)"),
        (
            {"mask": {"enabled": True, "max_width": 0}},
            "params.yaml: study.mask.max_width: Input should be greater than or equal to 1 (found 0)",
        ),
        (
            {"mask": {"enabled": True, "max_width": 1, "width": 2}},
            "params.yaml: study.mask.width: unknown key; did you mean 'max_width'?",
        ),
        (
            {"mask": {"enabled": "yes", "max_width": 1}},
            "params.yaml: study.mask.enabled: 'yes' is text; write true without quotation marks",
        ),
        (
            {"mask": {"enabled": "maybe", "max_width": 1}},
            'params.yaml: study.mask.enabled: Input should be a valid boolean (found "maybe")',
        ),
        (
            {"processes": "two"},  # neither member of the union is a key
            'params.yaml: study.processes: Input should be a valid integer (found "two")\n'
            "params.yaml: study.processes: Input should be 'auto' (found \"two\")",
        ),
    ],
)
def test_a_wrong_value_is_named_and_explained(
    load: Callable[[str], StudyParams], change: dict[str, Any], message: str
) -> None:
    assert message_of(load, GOOD | change) == message


def test_what_yaml_reads_as_a_date_is_refused_where_a_number_should_stand(load: Callable[[str], StudyParams]) -> None:
    text = yaml_of({"study": GOOD}).replace("epochs: 10", "epochs: 2026-01-02")
    with pytest.raises(DrumCrnnError, match=r'study\.epochs: Input should be a valid integer \(found "2026-01-02"\)'):
        load(text)


def test_every_fault_is_listed(load: Callable[[str], StudyParams]) -> None:
    values = {key: value for key, value in GOOD.items() if key != "limit"} | {"epochs": -1, "folders": "x"}
    assert message_of(load, values).splitlines() == [
        "params.yaml: study.epochs: Input should be greater than 0 (found -1)",
        "params.yaml: study.limit: is missing",
        "params.yaml: study.folders: unknown key; did you mean 'folder'?",
    ]


def test_a_section_without_keys_lacks_them_all(load: Callable[[str], StudyParams]) -> None:
    assert message_of(load, None).splitlines() == [f"params.yaml: study.{key}: is missing" for key in GOOD]


@pytest.mark.parametrize("values", [3, "text", [1, 2]])
def test_a_section_that_is_no_group_of_keys(load: Callable[[str], StudyParams], values: Any) -> None:
    assert message_of(load, values).startswith("params.yaml: study: should be a group of the keys learning_rate, ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("studdy: {}\n", r"params\.yaml: section 'study' is missing \(found 'studdy': is it misspelt\?\)"),
        ("train: {}\n", r"params\.yaml: section 'study' is missing$"),
        ("study:\n  a: 1\nmore: [1, 2\n", r"params\.yaml:4: is not valid YAML: expected ',' or ']'"),
        ("study:\n  a: b: c\n", r"params\.yaml:2: is not valid YAML: mapping values are not allowed here$"),
        ("study: {}\n---\nstudy: {}\n", r"params\.yaml:2: is not valid YAML: but found another document$"),
        ("study: !!python/name:os.system x\n", r"params\.yaml:1: is not valid YAML: could not determine a constructor"),
        ("study:\n  epochs: 2026-13-45\n", r"params\.yaml: is not valid YAML: month must be in 1\.\.12"),
        ("study: \x07\n", r"params\.yaml: is not valid YAML: unacceptable character"),
        ("- study\n", r"params\.yaml: should hold keys with their values"),
        ("just text\n", r"params\.yaml: should hold keys with their values"),
        ("", r"params\.yaml: should hold keys with their values"),
    ],
)
def test_a_file_that_holds_no_such_section(load: Callable[[str], StudyParams], text: str, message: str) -> None:
    with pytest.raises(DrumCrnnError, match=message):
        load(text)


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("study:\n  epochs: 1\n  folder: x\n  epochs: 2\n", 4, "epochs"),
        ("study:\n  mask: {max_width: 1, enabled: true, max_width: {a: 1}}\n", 2, "max_width"),
        ("study: {}\nother: {}\nstudy:\n  epochs: 1\n", 3, "study"),
    ],
)
def test_a_key_that_is_there_twice_is_refused(
    load: Callable[[str], StudyParams], text: str, line: int, key: str
) -> None:
    """Whichever counted, somebody would change the other in vain."""
    with pytest.raises(DrumCrnnError, match=rf'params\.yaml:{line}: is not valid YAML: found duplicate key "{key}"$'):
        load(text)


@pytest.mark.parametrize("text", ["study: {[1, 2]: 3}\n", "study: {2026-01-02: 3}\n", "study: &a [*a]\n"])
def test_what_cannot_be_a_section_is_refused(load: Callable[[str], StudyParams], text: str) -> None:
    with pytest.raises(
        DrumCrnnError, match=r"params\.yaml: study: holds a key that is not text, or a group that contains itself"
    ):
        load(text)


def test_comments_are_kept_for_changing_a_file(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("study:  # of birds\n  rate: 1e-3\n  name: 'a'\n")
    plain = read_yaml(tmp_path / "params.yaml")
    assert type(plain["study"]["rate"]) is float
    kept = read_yaml(tmp_path / "params.yaml", keep_comments=True)
    assert kept == plain
    dump_yaml(str(tmp_path / "again.yaml"), kept)
    assert (tmp_path / "again.yaml").read_text() == (tmp_path / "params.yaml").read_text()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DrumCrnnError, match=r"nothing\.yaml: there is no such file; run from the project's root"):
        StudyParams.load(tmp_path / "nothing.yaml")
    with pytest.raises(DrumCrnnError, match="cannot be read"):
        StudyParams.load(tmp_path)
    (tmp_path / "params.yaml").write_bytes(b"study:\n  folder: \xff\xfe\n")
    with pytest.raises(DrumCrnnError, match=r"params\.yaml: cannot be read"):
        StudyParams.load(tmp_path / "params.yaml")


def effect(*, enabled: bool = True, probability: float = 1.0, low: float = 0.0, high: float = 1.0) -> Effect:
    return Effect(enabled=enabled, probability=probability, range=(low, high))


@given(
    enabled=st.booleans(),
    probability=st.sampled_from([0.0, 0.3, 1.0]),
    ends=st.tuples(st.floats(-60, 60), st.floats(-60, 60)).map(sorted),
    seed=st.integers(0, 999),
)
def test_an_effect_takes_two_numbers_whether_it_acts_or_not(
    enabled: bool, probability: float, ends: list[float], seed: int
) -> None:
    rng, other = np.random.default_rng(seed), np.random.default_rng(seed)
    amount = effect(enabled=enabled, probability=probability, low=ends[0], high=ends[1]).draw(rng)
    acts, share = other.random(2)
    assert rng.random() == other.random()
    assert (amount is not None) == (enabled and acts < probability)
    if amount is not None:
        assert amount == pytest.approx(ends[0] + share * (ends[1] - ends[0]))


def test_an_effect_acts_as_often_as_it_says_and_evenly_over_its_range() -> None:
    rng = np.random.default_rng(0)
    amounts = [effect(probability=0.3, low=-2.0, high=6.0).draw(rng) for _ in range(4000)]
    drawn = np.array([amount for amount in amounts if amount is not None])
    assert len(drawn) == pytest.approx(1200, abs=4 * np.sqrt(4000 * 0.3 * 0.7))
    counts, _ = np.histogram(drawn, bins=4, range=(-2.0, 6.0))
    assert counts.sum() == len(drawn)
    assert counts.min() > len(drawn) / 4 - 4 * np.sqrt(len(drawn) * 3 / 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"range": (1.0, 0.0)}, r"range must be \[low, high\]"),
        ({"probability": -0.1}, "greater than or equal to 0"),
        ({"probability": 1.1}, "less than or equal to 1"),
        ({"enabled": "yes"}, "valid boolean"),
        ({"amount": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_an_impossible_effect(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Effect(**{"enabled": True, "probability": 1.0, "range": (0.0, 1.0)} | change)
