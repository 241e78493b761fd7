"""The architecture: who may import whom, and that code, `dvc.yaml`, `params.yaml` and `.gitignore` say the same."""

import ast
import graphlib
import importlib
import inspect
import re
import shlex
import subprocess
import sys
import typing
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from first_party import ROOT, direct_imports, foreign_imports, transitive_imports
from yaml_files import read_yaml

from drum_crnn.foundation.params import PARAMS_FILE, ParamsSection
from drum_crnn.foundation.stage import CANNOT_CHANGE_RESULTS
from drum_crnn.studio.rendering import VARIATIONS_FILE, load_variations

# Imports go down; the rooms of one floor do not know each other. A room is a folder of the package, or a module beside
# the folders.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("foundation",),
    ("music",),
    ("data", "model", "band", "formats", "tempo"),
    ("studio", "preparation", "scoring", "engine"),
    ("training", "workbench", "transcribe", "sonification"),
    ("cli", "stages", "benchmarks"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# Where torch may be imported; whatever does not use a module of these must be usable, and quick to start, without it.
WITH_TORCH = {"model", "training", "transcribe", "benchmarks"}
# Of the rooms that compute with torch, what does without it.
WITHOUT_TORCH = {
    "scoring/counting.py", "scoring/curves.py", "scoring/metrics.py", "scoring/rolls.py", "scoring/sweep.py",
    "scoring/thresholds.py", "model/activations.py", "model/model_params.py", "model/peak_picking.py",
    "model/stored_model.py", "model/windows.py", "training/picture.py", "training/train_params.py",
}  # fmt: skip

PACKAGE = Path("drum_crnn")
MODULES = sorted(path.relative_to(ROOT) for path in (ROOT / PACKAGE).rglob("*.py") if path.name != "__init__.py")
STAGES = sorted(path.relative_to(ROOT) for path in (ROOT / "stages").glob("*.py") if path.name != "__init__.py")
BENCHMARKS = sorted(path.relative_to(ROOT) for path in (ROOT / "benchmarks").glob("*.py"))
EVERYTHING = [*MODULES, *STAGES, *BENCHMARKS]


def room_of(path: Path) -> str:
    """The room of a module: its folder's name, or its own if it lies beside the folders."""
    inside = path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else path
    return inside.parts[0].removesuffix(".py")


def rooms(*floors: int) -> set[str]:
    return {room for floor in floors for room in FLOORS[floor]}


def real(paths: Iterable[Path]) -> set[Path]:
    """Without `__init__.py`, in which there is nothing but a docstring."""
    return {path for path in paths if path.name != "__init__.py"}


def without_torch() -> list[Path]:
    below = {"foundation", "music", "data", "band", "formats", "tempo", "studio", "preparation", "workbench", "engine"}
    below |= {"sonification"}
    return [path for path in MODULES if room_of(path) in below or path.relative_to(PACKAGE).as_posix() in WITHOUT_TORCH]


# ----------------------------------------------------------------------------------------------------- modules


def test_every_room_has_one_floor_and_every_floor_its_rooms() -> None:
    assert Counter(room for floor in FLOORS for room in floor).most_common(1)[0][1] == 1
    assert {room_of(path) for path in EVERYTHING} == FLOOR_OF.keys()


def test_imports_go_down() -> None:
    for path in EVERYTHING:
        room = room_of(path)
        for imported in sorted(real(direct_imports(path))):
            other = room_of(imported)
            assert other == room or FLOOR_OF[other] < FLOOR_OF[room], f"{path} imports {imported}, which is not below"


def test_stages_and_commands_are_independent() -> None:
    """Nothing imports a stage or the command line; a stage that did would rerun with another one's wording."""
    for path in EVERYTHING:
        assert not {*STAGES, PACKAGE / "cli.py"} & direct_imports(path), path


def test_the_studio_stands_apart() -> None:
    """It needs nothing of the model, and nothing of the pipeline needs it: a corpus is all that passes between them.

    A transcription is played on its kits, for people to listen to.
    """
    for path in MODULES:
        others = {room_of(imported) for imported in real(transitive_imports(path))} - {room_of(path)}
        if room_of(path) in ("sonification", "cli"):
            continue
        if room_of(path) != "studio":
            assert "studio" not in others, path
        else:
            assert others <= {"foundation", "music", "data", "band"}, path


def test_training_knows_no_more_of_scoring_than_it_needs() -> None:
    """A new metric or another rule for thresholds must not train again."""
    known = {path for path in transitive_imports(PACKAGE / "training" / "loop.py") if room_of(path) == "scoring"}
    assert real(known) == {PACKAGE / "scoring" / name for name in ("counting.py", "prediction.py", "sweep.py")}


def test_scikit_learn_is_loaded_by_the_evaluation_alone() -> None:
    """It takes a second to import, which neither transcription nor training should wait for."""
    users = {path for path in EVERYTHING if "sklearn" in foreign_imports(path)}
    reached_from = {path for path in EVERYTHING if users & {path, *transitive_imports(path)}}
    assert reached_from == {
        Path("benchmarks/scoring_memory.py"),
        PACKAGE / "scoring" / "curves.py",
        PACKAGE / "scoring" / "evaluation.py",
        Path("stages/evaluate.py"),
    }


def test_one_module_alone_reaches_out_to_the_network() -> None:
    network = {"aiohttp", "ftplib", "fsspec", "http", "httpx", "requests", "smtplib", "socket", "urllib", "urllib3"}
    assert [path for path in EVERYTHING if network & foreign_imports(path)] == [PACKAGE / "preparation" / "download.py"]


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {path: real(direct_imports(path)) for path in EVERYTHING}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert set(order) >= set(EVERYTHING)


def test_torch_appears_from_the_model_up() -> None:
    for path in EVERYTHING:
        if {"torch", "torchaudio"} & foreign_imports(path):
            assert room_of(path) in WITH_TORCH, path


def test_what_needs_no_torch_does_without_it() -> None:
    for path in without_torch():
        for imported in sorted(transitive_imports(path)):
            assert not {"torch", "torchaudio"} & foreign_imports(imported), f"{path} gets torch from {imported}"


@pytest.mark.processes
def test_importing_what_needs_no_torch_does_not_load_it() -> None:
    """Nor does a package of others bring it in."""
    names = [".".join(path.with_suffix("").parts) for path in without_torch()]
    code = (
        f"import importlib, sys\nfor name in {names}:\n    importlib.import_module(name)\nprint('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert run.stdout == "False\n"


def test_every_module_says_what_it_is_and_what_is_public() -> None:
    for path in EVERYTHING:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{path} has no docstring"
        assert path.name not in ("utils.py", "helpers.py", "misc.py", "common.py")
        if path in MODULES:
            assigned = [ast.unparse(node.targets[0]) for node in tree.body if isinstance(node, ast.Assign)]
            assert "__all__" in assigned, f"{path} has no __all__"


PACKAGES = sorted(
    file.parent.relative_to(ROOT)
    for name in ("drum_crnn", "stages", "benchmarks")
    for file in (ROOT / name).rglob("__init__.py")
)


@pytest.mark.parametrize("folder", PACKAGES, ids=str)
def test_packages_themselves_are_empty(folder: Path) -> None:
    """Importing any module runs its package's `__init__.py`, so what stands there is a dependency of every stage."""
    tree = ast.parse((ROOT / folder / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


# ----------------------------------------------------------------------------------------------------- dvc.yaml

DVC: dict[str, Any] = read_yaml(ROOT / "dvc.yaml")
DAG: dict[str, dict[str, Any]] = DVC["stages"]
CANNOT_CHANGE = {Path(*module.split(".")).with_suffix(".py") for module in CANNOT_CHANGE_RESULTS}


def file_of(stage: str) -> Path:
    return Path("stages") / f"{stage.replace('-', '_')}.py"


def named(entries: list[Any]) -> dict[str, dict[str, Any]]:
    """Entries such as outs, which are either a path or one path with options: options by path."""
    return {
        path: options or {}
        for entry in entries
        for path, options in (entry.items() if isinstance(entry, dict) else [(entry, {})])
    }


def test_every_command_is_a_stage_and_every_stage_a_command() -> None:
    assert {file_of(stage) for stage in DAG} == set(STAGES)
    for stage, definition in DAG.items():
        assert definition["cmd"].split()[:3] == ["python", "-m", f"stages.{file_of(stage).stem}"]
        # What makes it end with the dvc that started it.
        assert "app = stage_app(main)" in (ROOT / file_of(stage)).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("stage", DAG)
def test_a_stage_depends_on_the_code_that_it_imports(stage: str) -> None:
    declared: set[Path] = set()
    for dependency in DAG[stage]["deps"]:
        path = Path(dependency)
        if path.parts[0] in ("drum_crnn", "stages"):
            assert (ROOT / path).exists(), f"{dependency} does not exist"
            is_folder = (ROOT / path).is_dir()
            found = {file.relative_to(ROOT) for file in (ROOT / path).rglob("*.py")} if is_folder else {path}
            # What .dvcignore names is no part of the folder to DVC.
            declared |= found - CANNOT_CHANGE if is_folder else found
    imported = real(transitive_imports(file_of(stage))) - CANNOT_CHANGE
    missing, superfluous = sorted(map(str, imported - declared)), sorted(map(str, real(declared) - imported))
    assert not missing, f"dvc.yaml: {stage}: deps lack {', '.join(missing)}"
    assert not superfluous, f"dvc.yaml: {stage}: deps name what the stage does not import: {', '.join(superfluous)}"


def test_dvc_ignores_what_cannot_change_a_result_in_folders_that_are_dependencies() -> None:
    dependencies = {Path(path) for definition in DAG.values() for path in definition["deps"]}
    inside = {f"/{path}" for path in CANNOT_CHANGE if path.parent in dependencies} | {"/drum_crnn/*/__init__.py"}
    lines = (ROOT / ".dvcignore").read_text(encoding="utf-8").splitlines()
    assert {line for line in lines if line.startswith("/drum_crnn/")} == inside
    assert not CANNOT_CHANGE & dependencies


@pytest.mark.parametrize("stage", DAG)
def test_paths_are_passed_and_are_dependencies_or_outs(stage: str) -> None:
    """What a command is given, the DAG knows of, and the other way round; code and the corpus's place aside."""
    definition = DAG[stage]
    arguments = {word for word in shlex.split(definition["cmd"])[3:] if not word.startswith("--")}
    inputs = {path for path in definition["deps"] if Path(path).parts[0] not in ("drum_crnn", "stages")}
    outputs = {path for kind in ("outs", "metrics", "plots") for path in named(definition.get(kind, []))}
    assert arguments - {"${corpus.root}", "${corpus.watch}"} == (inputs | outputs) - {"${corpus.watch}"}
    assert ("${corpus.root}" in arguments) == ("${corpus.watch}" in inputs)


def test_what_dvc_keeps_git_ignores_and_what_git_keeps_it_does_not() -> None:
    """A failed run takes back the lines that DVC wrote itself, so they are written by hand."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    for stage, definition in DAG.items():
        for kind in ("outs", "metrics", "plots"):
            for path, options in named(definition.get(kind, [])).items():
                is_cached = options.get("cache", True)
                assert (f"/{path}" in lines) == is_cached, f".gitignore and dvc.yaml differ on {path} of {stage}"


# ----------------------------------------------------------------------------------------------------- params.yaml

PARAMS: dict[str, Any] = read_yaml(ROOT / "params.yaml")


def sections_of_package() -> list[type[ParamsSection]]:
    """All classes of sections that the package defines."""
    for path in MODULES:
        importlib.import_module(".".join(path.with_suffix("").parts))
    found: list[type[ParamsSection]] = []
    todo = ParamsSection.__subclasses__()
    while todo:
        cls = todo.pop()
        todo += cls.__subclasses__()
        if cls.__module__.split(".")[0] == PACKAGE.name:
            found.append(cls)
    return found


def test_every_section_has_one_class_and_every_class_its_section() -> None:
    assert Counter(cls.section for cls in sections_of_package()) == Counter(PARAMS.keys())


def test_the_projects_own_params_are_valid() -> None:
    for cls in sections_of_package():
        assert cls.load(ROOT / "params.yaml").section in PARAMS
    assert load_variations(ROOT / VARIATIONS_FILE).keys() == read_yaml(ROOT / "variations.yaml").keys()


def loaded_sections(stage: str) -> set[str]:
    """The sections that a command loads: of each class that it calls `.load` on, or of the classes in its fields."""
    module = importlib.import_module(f"stages.{file_of(stage).stem}")
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file_of(stage)).read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load"):
            continue
        cls = getattr(module, ast.unparse(node.func.value))
        members = [cls] if issubclass(cls, ParamsSection) else list(typing.get_type_hints(cls).values())
        assert all(issubclass(member, ParamsSection) for member in members), cls
        found |= {member.section for member in members}
    return found


@pytest.mark.parametrize("stage", DAG)
def test_a_stage_declares_the_sections_that_it_loads(stage: str) -> None:
    """Whole sections: a single key in dvc.yaml would miss what the stage reads besides."""
    declared = [entry for entry in DAG[stage].get("params", []) if isinstance(entry, str)]
    assert len(set(declared)) == len(declared)
    assert set(declared) == loaded_sections(stage)


@pytest.mark.parametrize("stage", DAG)
def test_a_stage_declares_the_params_files_that_it_reads(stage: str) -> None:
    """An option whose default is a YAML file; those beside params.yaml are declared as a whole."""
    entries = DAG[stage].get("params", [])
    whole = {path for entry in entries if isinstance(entry, dict) for path, keys in entry.items() if keys is None}
    assert len(whole) == sum(isinstance(entry, dict) for entry in entries)
    has_sections = {str(PARAMS_FILE)} if loaded_sections(stage) else set()
    main = importlib.import_module(f"stages.{file_of(stage).stem}").main
    options = [option.default for option in inspect.signature(main).parameters.values()]
    assert {
        str(default) for default in options if isinstance(default, Path) and default.suffix == ".yaml"
    } == whole | has_sections


def test_params_are_loaded_by_stages_alone() -> None:
    """What the library loaded by itself would be read behind the DAG's back."""
    names = {cls.__name__ for cls in sections_of_package()}
    for path in MODULES:
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                owner = ast.unparse(node.func.value)
                assert owner not in names or path == PACKAGE / "training" / "run.py", f"{path} loads {owner}"
            elif isinstance(node, ast.Call):
                assert ast.unparse(node.func) != "load_variations", f"{path} loads variations"


@pytest.mark.parametrize("file", ["params.yaml", "variations.yaml"])
def test_every_value_is_explained(file: str) -> None:
    """By a comment on its own line, or on the line of the group or list that it belongs to."""
    open_lines: list[tuple[int, bool]] = []  # indentation of the lines that enclose this one, and whether explained
    for number, line in enumerate((ROOT / file).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        indent = len(line) - len(line.lstrip())
        text, *comment = re.split(r"\s#\s", line, maxsplit=1)
        while open_lines and open_lines[-1][0] >= indent:
            open_lines.pop()
        is_group = text.rstrip().endswith(":")
        # The comment of a whole section explains none of its values.
        in_explained_group = len(open_lines) > 1 and open_lines[-1][1]
        assert is_group or comment or in_explained_group, f"{file}:{number}: {line.strip()}: no comment"
        open_lines.append((indent, bool(comment) or in_explained_group))
