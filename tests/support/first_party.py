"""Which of our own modules a module imports, found by reading the source."""

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FIRST_PARTY = {"drum_crnn", "stages", "benchmarks"}


def path_of(module: str) -> Path | None:
    """The file of a first-party module, relative to the root; None if there is none of that name."""
    base = Path(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if (ROOT / path).is_file():
            return path
    return None


@functools.cache
def direct_imports(path: Path) -> frozenset[Path]:
    """First-party files that `path` imports, anywhere in it, and the packages that they lie in."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            # `from package import module` names a module; `from module import name` does not.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] not in FIRST_PARTY:
                continue
            packages = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
            found |= {file for package in packages if (file := path_of(package)) is not None}
    return frozenset(found - {path})


def transitive_imports(path: Path) -> set[Path]:
    """All first-party files that importing `path` can bring in, itself included."""
    seen: set[Path] = set()
    todo = [path]
    while todo:
        current = todo.pop()
        if current not in seen:
            seen.add(current)
            todo += direct_imports(current)
    return seen


def foreign_imports(path: Path) -> set[str]:
    """Top-level names of the packages that `path` itself imports and that are not ours."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module.split(".")[0])
    return found - FIRST_PARTY
