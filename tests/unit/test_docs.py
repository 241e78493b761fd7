"""The pages say what is there: links, commands, options, parameters, targets, and the table of CONTRIBUTING.md."""

import doctest
import functools
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from first_party import ROOT
from ruamel.yaml import YAML
from typer.core import TyperGroup

from drum_crnn.cli import app
from drum_crnn.foundation.stage import CANNOT_CHANGE_RESULTS

PAGES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "models/**/*.md")
    for path in ROOT.glob(pattern)
    if path.parts[len(ROOT.parts)] != ".venv"
)
COMMAND = typer.main.get_command(app)
PARAMS: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")
DAG: dict[str, dict[str, Any]] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]

# Parameters that have another name now. Pages that tell of old commits may use them, if they say so.
RENAMED = {"train.begin_with": "train.init_from", "render.variations": "variations.yaml"}
MISSING = object()
FILE_SUFFIXES = {"csv", "h5", "json", "py", "safetensors", "yaml"}  # `corpus.csv` is no parameter


# ------------------------------------------------------------------------------------------------------- reading a page


@functools.cache
def text_of(page: Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code_lines(page: Path) -> list[str]:
    """The lines of code blocks, continued lines joined; blocks in a language, such as Python, are left out.

    What follows `git checkout COMMIT` in a block is about that commit, and left out as well.
    """
    lines: list[str] = []
    fence: str | None = None  # the language of the fenced block that a line lies in
    in_block = after_blank = in_history = False
    for line in text_of(page).splitlines():
        if line.startswith("```"):
            fence = line.removeprefix("```") if fence is None else None
            continue
        indented = line.startswith("    ") and (after_blank or in_block)
        if fence == "" or (fence is None and indented):
            in_history = in_history if in_block else False
            in_block = True
            in_history |= re.search(r"git checkout [0-9a-f]{7}", line) is not None
            if lines and lines[-1].endswith("\\"):
                lines[-1] = lines[-1].removesuffix("\\") + line.strip()
            elif not in_history:
                lines.append(line.strip())
        elif line.strip():
            in_block = False
        after_blank = not line.strip()
    return lines


def code_spans(page: Path) -> list[str]:
    """The pieces of code inside sentences and tables."""
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def words_of(line: str) -> list[str]:
    """The words of a command as a shell has them; none for what is no command."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # an apostrophe: prose, a table
        return []


def commands(page: Path, program: str) -> Iterator[tuple[list[str], bool]]:
    """The arguments of each call of a program, and whether it stands in a block, and so in full."""
    for lines, is_block in ((code_lines(page), True), (code_spans(page), False)):
        for line in lines:
            words = words_of(line)
            for place, word in enumerate(words):
                if word == program and (place == 0 or words[place - 1] in ("&&", "run")):
                    end = next((n for n in range(place, len(words)) if words[n] == "&&"), len(words))
                    yield words[place + 1 : end], is_block


def anchor_of(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


@functools.cache
def anchors_of(page: Path) -> set[str]:
    return {anchor_of(heading) for heading in re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)}


def test_the_pages_are_read() -> None:
    """Else the tests below would hold of nothing."""
    readme = Path("README.md")
    assert {readme, Path("CONTRIBUTING.md"), Path("docs/comparing.md"), Path("models/released/README.md")} <= set(PAGES)
    assert (["transcribe", "song.wav", "song.mid"], True) in list(commands(readme, "drum-crnn"))
    assert (["repro"], True) in list(commands(readme, "make"))
    joined = "drum-crnn preset egmd base two_gpus --set corpus.root=/data/e-gmd-v1.0.0 --set corpus.watch="
    assert any(line.startswith(joined) for line in code_lines(Path("docs/training.md")))


# ------------------------------------------------------------------------------------------------------------ the pages


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page.parent / path).resolve() if path else ROOT / page
        assert file.exists(), f"{page}: {target}: there is no such file"
        if anchor:
            assert anchor in anchors_of(file.relative_to(ROOT)), f"{page}: {target}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_of_ours_are_understood(page: Path) -> None:
    """Sub-commands and options exist; commands in blocks, which stand in full, have the arguments that they need."""
    for words, is_block in commands(page, "drum-crnn"):
        command, rest = COMMAND, list(words)
        while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, f"{page}: drum-crnn {' '.join(words)}: there is no {rest[0]}"
            command = command.commands[rest.pop(0)]
        options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help"}
        unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in options]
        assert not unknown, f"{page}: drum-crnn {' '.join(words)}: there is no {unknown[0]}"
        if is_block and not isinstance(command, TyperGroup):
            command.make_context("drum-crnn", rest)  # raises UsageError


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_of_stages_are_understood(page: Path) -> None:
    for line in code_lines(page):
        if call := re.search(r"-m (stages\.\w+) (.*)", line):
            module = importlib.import_module(call[1])
            typer.main.get_command(module.app).make_context(call[1], words_of(call[2]))  # raises UsageError


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_of_dvc_are_understood(page: Path) -> None:
    parser = get_main_parser()
    for words, is_block in commands(page, "dvc"):
        if not is_block and len(words) < 3:
            continue  # "`dvc queue`" names a command
        try:
            parser.parse_args(words)
        except DvcParserError:
            pytest.fail(f"{page}: dvc {' '.join(words)}: DVC does not understand it")
        named = [word for word in words[1:] if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")]
        if words[0] == "repro":
            assert set(named) <= DAG.keys(), f"{page}: dvc {' '.join(words)}: there is no such stage"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_parameters_exist(page: Path) -> None:
    # `train.seed`, or `FILE:KEY` in a file of params beside params.yaml
    pattern = re.compile(rf"(\w+\.yaml:)?((?<![\w./-])(?:{'|'.join(PARAMS)}|(?<=:)\w+)(?:\.[a-z]\w*)+)")
    for line in (*code_lines(page), *code_spans(page)):
        for file, key in pattern.findall(line):
            if key.rpartition(".")[2] in FILE_SUFFIXES:
                continue
            if old := next((old for old in RENAMED if f"{key}.".startswith(f"{old}.")), None):
                assert f"`{RENAMED[old]}`" in text_of(page), f"{page}: {old} has another name now; say so"
                continue
            value: Any = YAML(typ="safe").load(ROOT / file.removesuffix(":")) if file else PARAMS
            for part in key.split("."):
                value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
                assert value is not MISSING, f"{page}: {key} is no parameter"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_presets_exist(page: Path) -> None:
    for words, _ in commands(page, "drum-crnn"):
        if words[:1] == ["preset"]:
            names = [word for word in words[1:] if re.fullmatch(r"[a-z_]+", word)]
            for name in names:
                assert (ROOT / "presets" / f"{name}.yaml").is_file(), f"{page}: there is no preset {name}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_targets_of_make_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(" ".join(re.findall(r"^([a-z][a-z -]*):", makefile, flags=re.MULTILINE)).split())
    for words, _ in commands(page, "make"):
        for word in words:
            assert "=" in word or word in targets, f"{page}: make {word}: there is no such target"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_modules_and_scripts_exist(page: Path) -> None:
    for line in (*code_lines(page), *code_spans(page)):
        for module in re.findall(r"(?:python|torchrun)\b.* -m ([\w.]+)", line):
            assert importlib.util.find_spec(module), f"{page}: there is no module {module}"
        for script in re.findall(r"python ([\w/]+\.py)", line):
            assert (ROOT / script).is_file(), f"{page}: there is no {script}"


def test_the_readme_stays_short() -> None:
    assert len(text_of(Path("README.md")).split()) <= 1000


# -------------------------------------------------------------------------------------------------- what a change costs


def rows_of_contributing() -> list[tuple[str, list[str], list[str], list[str]]]:
    """What one wants; and the code in the columns change, test, and stages that rerun."""
    table = re.findall(r"^\| (?!---|I want)(.+) \|$", text_of(Path("CONTRIBUTING.md")), flags=re.MULTILINE)
    rows = []
    for line in table:
        want, *columns = line.split(" | ")
        change, test, stages = (re.findall(r"`([^`]+)`", column) for column in columns)
        rows.append((want, change, test, stages))
    return rows


def stages_that_use(module: str) -> set[str]:
    """Stages among whose deps in `dvc.yaml` a module of the package is, by itself or in its folder."""
    path = Path("drum_crnn") / module
    if ".".join(path.with_suffix("").parts) in CANNOT_CHANGE_RESULTS:
        return set()
    return {stage for stage, definition in DAG.items() if {str(path), str(path.parent)} & set(definition["deps"])}


def test_a_change_reruns_the_stages_that_contributing_names() -> None:
    rows = rows_of_contributing()
    assert len(rows) > 15
    for want, change, tests, stages in rows:
        modules = [path for path in change if (ROOT / "drum_crnn" / path).is_file()]
        missing = [path for path in change if path.endswith(".py") and path not in modules]
        assert not missing, f"{want}: there is no drum_crnn/{missing[0]}"
        for path in tests:
            assert (ROOT / "tests" / path).is_file(), f"{want}: there is no tests/{path}"
        if modules:
            assert set(stages) == set().union(*map(stages_that_use, modules)), want


# ----------------------------------------------------------------------------------------------- examples in docstrings


@pytest.mark.parametrize(
    "file",
    sorted(
        path.relative_to(ROOT)
        for path in (ROOT / "drum_crnn").rglob("*.py")
        if ">>> " in path.read_text(encoding="utf-8")
    ),
    ids=str,
)
def test_examples_in_docstrings_give_what_they_show(file: Path) -> None:
    results = doctest.testmod(importlib.import_module(".".join(file.with_suffix("").parts)))
    assert results.attempted > 0
    assert results.failed == 0
