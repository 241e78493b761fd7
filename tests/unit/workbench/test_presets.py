"""Presets: what they name changes, in a params.yaml whose comments and other values stay."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from first_party import ROOT
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner
from yaml_files import read_yaml

from drum_crnn.cli import app
from drum_crnn.data.corpus import CorpusParams
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.params import ParamsSection
from drum_crnn.model.model_params import ModelParams
from drum_crnn.music.log_mel import FeatureParams
from drum_crnn.preparation.labelling import LabelParams
from drum_crnn.preparation.splitting import SplitParams
from drum_crnn.studio.rendering import RenderParams, load_variations
from drum_crnn.training.augment import AugmentParams
from drum_crnn.training.train_params import TrainParams
from drum_crnn.workbench.presets import apply_presets

PARAMS = """\
# What everything is about.

render:                        # the studio
  seed: 1                      # of everything
  performances: generated      # "generated", or a folder
  hours:                       # h of each
    train: null
    test: 2.5                  # half a day
  kits:                        # may play anything
    - pretty_midi:TimGM6mb#Standard
    - pretty_midi:TimGM6mb#Room   # wet
  sessions:                    # what is recorded
    - {name: main, splits: all, segment_s: null}
  split: [0.7, 0.3]            # shares
  effect: {enabled: true, probability: 0.5, range: [-1.0, 1.0]}  # dB
  playing: null                # as played
  folders: ["a folder of a long name", "another folder of a long name", "and a third folder of a long name", "a fourth"]

train:                         # the trainer
  rate: 1.0e-05                # highest
  quoted: "yes"                # text
"""


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS, encoding="utf-8")
    return path


def preset(params: Path, text: str) -> Path:
    path = params.parent / "preset.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def values(path: Path) -> Any:
    """What the pipeline reads."""
    return read_yaml(path)


def comments(text: str) -> list[str]:
    return re.findall(r"#(?= ).*", text)


def test_what_a_preset_names_changes_and_nothing_else(params: Path) -> None:
    before = values(params)
    changed = apply_presets(params, [preset(params, "render:\n  seed: 7\n  hours: {test: 9.0}\ntrain:\n  rate: 0.1\n")])
    assert changed == ["render.seed", "render.hours.test", "train.rate"]
    after = values(params)
    assert after["render"].pop("seed") == 7
    assert after["render"]["hours"].pop("test") == 9.0
    assert after["train"].pop("rate") == 0.1
    del before["render"]["seed"], before["render"]["hours"]["test"], before["train"]["rate"]
    assert after == before


def test_an_empty_group_leaves_the_text_as_it_is(params: Path) -> None:
    assert apply_presets(params, [preset(params, "render: {}\n")]) == []
    assert re.sub(" +", " ", params.read_text()) == re.sub(" +", " ", PARAMS)


def test_comments_survive(params: Path) -> None:
    apply_presets(
        params,
        [
            preset(
                params,
                "render:\n  seed: 123456\n  performances: /a/path\n  kits: [a, b, c]\n  split: [1.0, 0.0]\n"
                "  sessions:\n    - {name: other, splits: [test], segment_s: 30.0}\n  effect: {probability: 0.25}\n"
                "  playing: {enabled: false}\ntrain:\n  rate: 0.5\n",
            )
        ],
    )
    text = params.read_text()
    lost = set(comments(PARAMS)) - set(comments(text))
    assert lost == {"# wet"}  # the line is gone that it was about
    for line in ("  seed: 123456 ", "  split: [1.0, 0.0] ", "  rate: 0.5 "):
        (found,) = (one for one in text.splitlines() if one.startswith(line))
        assert "#" in found
    assert text.startswith("# What everything is about.\n\nrender: ")
    assert "\n\ntrain: " in text


def test_numbers_keep_their_value_and_their_form(params: Path) -> None:
    apply_presets(params, [preset(params, "render: {split: [1e-3, 2E5, 0.360]}\ntrain:\n  rate: 5e-4\n")])
    assert values(params)["train"]["rate"] == 0.0005
    assert values(params)["render"]["split"] == [0.001, 2e5, 0.36]
    assert "rate: 5e-4 " in params.read_text()
    assert "split: [1e-3, 2E5, 0.360]" in params.read_text()


@given(
    st.floats(allow_nan=False, allow_infinity=False).flatmap(
        lambda number: st.sampled_from([f"{number!r}", f"{number:e}", f"{number:.3E}", f"{number:.4f}", f"{number:g}"])
    )
)
@example("1e400")
def test_no_number_changes_on_its_way(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("params")
    (folder / "params.yaml").write_text(f"train:\n  rate: 1.0\n  other: 1.0\n  kept: {text}\n")
    (folder / "preset.yaml").write_text(f"train:\n  rate: {text}\n")
    apply_presets(folder / "params.yaml", [folder / "preset.yaml"], [f"train.other={text}"])
    assert values(folder / "params.yaml")["train"] == dict.fromkeys(("rate", "other", "kept"), float(text))


def test_a_group_is_no_single_value(params: Path) -> None:
    before = params.read_text()
    for setting in ("render=5", "render.seed.other=1"):
        with pytest.raises(DrumCrnnError, match=r"of .*\.yaml is a (group of keys|single value)"):
            apply_presets(params, [preset(params, "train: {rate: 0.5}\n")], [setting])
    assert params.read_text() == before


def test_lists_are_taken_whole_and_groups_are_merged(params: Path) -> None:
    text = "render:\n  kits: [one]\n  split: []\n  effect: {range: [2.0, 3.0]}\n  sessions: [{name: x, takes: 2}]\n"
    apply_presets(params, [preset(params, text)])
    after = values(params)["render"]
    assert after["kits"] == ["one"]
    assert after["split"] == []
    assert after["sessions"] == [{"name": "x", "takes": 2}]
    assert after["effect"] == {"enabled": True, "probability": 0.5, "range": [2.0, 3.0]}


def test_null_survives_and_can_be_given(params: Path) -> None:
    assert apply_presets(params, [preset(params, "render:\n  hours: {test: null}\n")]) == ["render.hours.test"]
    after = values(params)["render"]
    assert after["hours"] == {"train": None, "test": None}
    assert after["playing"] is None
    assert after["sessions"][0]["segment_s"] is None
    text = params.read_text()
    assert "train: null" in text
    assert re.search(r"playing: null +# as played", text)
    assert "segment_s: null" in text


def test_what_is_null_may_become_a_group_and_the_other_way_round(params: Path) -> None:
    apply_presets(params, [preset(params, "render:\n  playing: {enabled: true}\n  effect: null\n")])
    assert values(params)["render"]["playing"] == {"enabled": True}
    assert values(params)["render"]["effect"] is None


def test_numbers_and_text_are_read_as_they_were_meant(params: Path) -> None:
    apply_presets(params, [preset(params, "{}")], ["render.seed=3", "render.performances=/a b/c"])
    assert values(params)["render"]["seed"] == 3
    assert values(params)["render"]["performances"] == "/a b/c"
    assert values(params)["train"] == {"rate": 0.00001, "quoted": "yes"}
    for text, number in (("0.00002", 2e-5), ("2e-5", 2e-5), ("1e16", 1e16), ("0.25", 0.25), ("-1.5e-7", -1.5e-7)):
        apply_presets(params, [preset(params, "{}")], [f"train.rate={text}"])
        assert values(params)["train"]["rate"] == number
    apply_presets(params, [preset(params, "train: {rate: 0.00003}\n")])
    assert values(params)["train"]["rate"] == 0.00003


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("rendr: {seed: 1}\n", "rendr"),
        ("render:\n  sed: 1\n", "render.sed"),
        ("render:\n  hours: {train: 1.0, tests: 2.0}\n", "render.hours.tests"),
        ("train:\n  rate: 0.5\nmodel:\n  size: 3\n", "model"),
    ],
)
def test_an_unknown_key_is_named_and_nothing_is_written(params: Path, text: str, key: str) -> None:
    with pytest.raises(DrumCrnnError, match=rf"preset\.yaml: .*params\.yaml has no '{re.escape(key)}'; is it misspelt"):
        apply_presets(params, [preset(params, text)])
    assert params.read_text() == PARAMS


def test_settings_come_after_the_preset(params: Path) -> None:
    changed = apply_presets(
        params,
        [preset(params, "render: {seed: 5}\n")],
        ["render.seed=6", "render.hours.train=1.5", "render.kits=[x, y]", "render.effect.enabled=false"],
    )
    assert changed == [
        "render.seed",
        "render.hours.train",
        "render.kits",
        "render.effect.enabled",
    ]
    after = values(params)["render"]
    assert (after["seed"], after["hours"]["train"], after["kits"]) == (6, 1.5, ["x", "y"])
    assert after["effect"]["enabled"] is False


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("render.seed", r"--set render\.seed: write it as KEY=VALUE"),
        ("render.sed=1", r"--set render\.sed: .*has no 'render\.sed'"),
        ("render.seed=2026-13-45", r"--set render\.seed=2026-13-45: '2026-13-45' is not YAML"),
        ("render.kits=[1, ", r"--set render\.kits=\[1, : '\[1, ' is not YAML"),
    ],
)
def test_a_wrong_setting_is_explained_and_nothing_is_written(params: Path, setting: str, message: str) -> None:
    with pytest.raises(DrumCrnnError, match=message):
        apply_presets(params, [preset(params, "render: {seed: 5}\n")], [setting])
    assert params.read_text() == PARAMS


def test_files_that_are_missing_or_no_params(params: Path) -> None:
    folder = params.parent
    with pytest.raises(DrumCrnnError, match=r"big\.yaml: there is no such preset; .* has: params"):
        apply_presets(params, [folder / "big.yaml"])
    with pytest.raises(DrumCrnnError, match=r"nothing\.yaml: there is no such file"):
        apply_presets(folder / "nothing.yaml", [preset(params, "{}")])
    for text, message in (("a: [1\n", "is not valid YAML"), ("- 1\n", "should hold keys with their values")):
        with pytest.raises(DrumCrnnError, match=message):
            apply_presets(params, [preset(params, text)])
    assert params.read_text() == PARAMS


# ------------------------------------------------------------------------------------------------------- the project's

SECTIONS: list[type[ParamsSection]] = [
    CorpusParams, RenderParams, FeatureParams, LabelParams, SplitParams, ModelParams, TrainParams, AugmentParams
]  # fmt: skip


# What a preset stands on, where it is not for params.yaml as it is.
BELOW = {
    "songs": ["studio"],
    "more_kits": ["studio", "songs"],
    "release": ["studio", "songs", "more_kits"],
}


@pytest.mark.parametrize("file", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_projects_presets_fit_the_projects_params(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes((ROOT / "params.yaml").read_bytes())
    if below := BELOW.get(file.stem):
        apply_presets(path, [ROOT / "presets" / f"{name}.yaml" for name in below])
    before_text, before = path.read_text(), values(path)
    changed = apply_presets(path, [file])
    for section in SECTIONS:
        section.load(path)
    assert set(comments(before_text)) <= set(comments(path.read_text()))
    assert before_text.count("\n\n") == path.read_text().count("\n\n")
    # Every value is as it was or as the preset has it.
    after, wanted = values(path), values(file)
    known = {None, *load_variations(ROOT / "variations.yaml")}
    assert {session["variation"] for session in after["render"]["sessions"]} <= known
    for key in dict.fromkeys(changed):
        place, given, old = after, wanted, before
        *parents, last = key.split(".")
        for parent in parents:
            place, given, old = place[parent], given[parent], old[parent]
        assert place.pop(last) == given[last]
        old.pop(last)
    assert json.dumps(after) == json.dumps(before)


def test_a_preset_may_change_variations(tmp_path: Path) -> None:
    path = tmp_path / "variations.yaml"
    path.write_bytes((ROOT / "variations.yaml").read_bytes())
    changed = apply_presets(
        path, [preset(path, "studio: {kit: {ring: {enabled: true}}}\n")], ["stress.production=null"]
    )
    assert changed == ["studio.kit.ring.enabled", "stress.production"]
    after = load_variations(path)
    assert after["studio"].kit is not None
    assert after["studio"].kit.ring.enabled
    assert after["stress"].production is None
    assert re.search(r"ring: \{enabled: true, probability: 0\.4, range: \[-20\.0, 3\.0\]\} +# dB", path.read_text())


def test_the_released_models_preset_is_what_it_says() -> None:
    wanted = values(ROOT / "presets" / "studio.yaml")["render"]
    kits = [kit for group in ("kits", "validation_kits", "unheard_kits") for kit in wanted[group]]
    assert len(set(kits)) == len(kits)
    assert {session["kits"] for session in wanted["sessions"]} == {"heard", "validation", "unheard"}


def test_no_kit_is_held_out_of_all_kits() -> None:
    studio, everything = (values(ROOT / "presets" / f"{name}.yaml")["render"] for name in ("studio", "all_kits"))
    assert set(everything["kits"]) == {
        kit for group in ("kits", "validation_kits", "unheard_kits") for kit in studio[group]
    }
    assert {session["name"]: session["variation"] for session in everything["sessions"]}.items() <= {
        session["name"]: session["variation"] for session in studio["sessions"]
    }.items()


def test_corpus_size_and_machine_come_together(tmp_path: Path) -> None:
    """From the default to E-GMD on two GPUs: what each of the three names is there, whatever their order."""
    texts = set()
    for names in itertools.permutations(("egmd", "base", "two_gpus")):
        path = tmp_path / "params.yaml"
        path.write_bytes((ROOT / "params.yaml").read_bytes())
        files = [ROOT / "presets" / f"{name}.yaml" for name in names]
        changed = apply_presets(path, files, ["corpus.root=/data/e-gmd-v1.0.0"])
        assert len(changed) == len(set(changed))
        texts.add(path.read_text())
    assert len(texts) == 1
    after = values(path)
    assert after["corpus"]["root"] == "/data/e-gmd-v1.0.0"
    assert after["labels"]["midi"] == "canonical"
    for section in SECTIONS:
        section.load(path)


def test_the_small_size_is_that_of_the_default(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes((ROOT / "params.yaml").read_bytes())
    apply_presets(path, [ROOT / "presets" / "base.yaml", ROOT / "presets" / "small.yaml"])
    assert values(path) == values(ROOT / "params.yaml")


def test_later_presets_win(params: Path) -> None:
    first, second = params.parent / "first.yaml", params.parent / "second.yaml"
    first.write_text("render: {seed: 5}\ntrain: {rate: 0.1}\n")
    second.write_text("render: {seed: 6}\n")
    assert apply_presets(params, [first, second]) == ["render.seed", "train.rate"]
    assert (values(params)["render"]["seed"], values(params)["train"]["rate"]) == (6, 0.1)


def test_applied_twice_it_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes((ROOT / "params.yaml").read_bytes())
    apply_presets(path, [ROOT / "presets" / "studio.yaml"])
    once = path.read_text()
    apply_presets(path, [ROOT / "presets" / "studio.yaml"])
    assert path.read_text() == once


# ------------------------------------------------------------------------------------------------------- the command


def test_the_command(params: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(params.parent)
    (params.parent / "presets").mkdir()
    (params.parent / "presets" / "small.yaml").write_text("render: {seed: 5}\n")
    result = CliRunner().invoke(app, ["preset", "small", "--set", "train.rate=0.5", "--set", "render.hours.test=null"])
    assert result.exit_code == 0
    assert "3 values set (render.seed, train.rate, render.hours.test)" in result.output.replace("\n", " ")
    assert values(params)["render"]["seed"] == 5
    assert values(params)["render"]["hours"]["test"] is None
    assert values(params)["train"]["rate"] == 0.5


def test_the_command_names_the_presets_there_are(params: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(params.parent)
    (params.parent / "presets").mkdir()
    (params.parent / "presets" / "small.yaml").write_text("render: {seed: 5}\n")
    result = CliRunner().invoke(app, ["preset", "big"])
    assert result.exit_code == 1
    assert "there is no such preset; presets has: small" in result.stderr
    assert params.read_text() == PARAMS


def test_the_command_takes_another_file(params: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (params.parent / "presets").mkdir()
    (params.parent / "presets" / "small.yaml").write_text("render: {seed: 5}\n")
    other = params.rename(params.parent / "mine.yaml")
    monkeypatch.chdir(params.parent)
    result = CliRunner().invoke(app, ["preset", "small", "--params-file", "mine.yaml"])
    assert result.exit_code == 0
    assert values(other)["render"]["seed"] == 5
