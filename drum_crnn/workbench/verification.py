"""Find files that a disk has damaged: compare outputs and DVC's cache with their checksums.

DVC compares only sizes and times. So it does not notice a flipped byte, neither in an output nor in its cache. When it
checks out, it copies the damage.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import NotDvcRepoError
from dvc.repo import Repo

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.preparation.fingerprint import hash_files

__all__ = ["Damage", "find_damage"]


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that does not match its checksum; `what` describes the file."""

    path: Path
    what: str


def find_damage(folder: Path) -> list[Damage]:
    """Read all outputs and the whole cache of the DVC repository in `folder`, and list the damaged files.

    Outputs that DVC itself sees as changed are left out: `dvc status` lists them, and `dvc repro` makes them again.

    Raises
    ------
    DrumCrnnError
        If there is no DVC repository, or a file cannot be read.
    """
    try:
        repo = Repo(str(folder))
    except NotDvcRepoError:
        raise DrumCrnnError(f"{folder.resolve()}: is not a DVC repository; run this in the project's folder") from None
    with repo:
        cache = Path(repo.cache.local.path)
        outputs = [out for out in repo.index.outs if out.hash_info and out.use_cache]
        expected: dict[Path, str] = {}
        names: defaultdict[str, list[str]] = defaultdict(list)
        for out in outputs:
            names[out.hash_info.value].append(str(out))
            for relative, md5 in _files_of(out, cache):
                path = Path(out.fs_path, relative)
                names[md5].append(str(Path(str(out), relative)))
                if path.is_file():
                    expected[path] = md5
        found = _differing(expected, "reading the outputs")
        if found:
            unseen = [Path(out.fs_path) for out in outputs if not out.changed_checksum()]
            found = [path for path in found if any(path.is_relative_to(place) for place in unseen)]
        damaged = [Damage(path, "an output") for path in found]
        objects = {
            path: path.parent.name + path.name
            for path in sorted(cache.glob("??/*"))
            if re.fullmatch(r"[0-9a-f]{30}(\.dir)?", path.name)
        }
        of_cache = _differing({path: oid.removesuffix(".dir") for path, oid in objects.items()}, "reading DVC's cache")
        for path in of_cache:
            outs = sorted(set(names[objects[path]])) or ["an output of another commit"]
            damaged.append(Damage(path, f"DVC's copy of {', '.join(outs)}"))
        return damaged


def _files_of(out: Any, cache: Path) -> Iterator[tuple[str, str]]:
    """Path inside the output and MD5 of each of its files; nothing if DVC has lost the list of a folder's files."""
    oid = out.hash_info.value
    if not out.hash_info.isdir:
        yield "", oid
        return
    try:
        entries = json.loads((cache / oid[:2] / oid[2:]).read_bytes())
        yield from [(entry["relpath"], entry["md5"]) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError):
        return


def _differing(expected: dict[Path, str], description: str) -> list[Path]:
    names = [str(path) for path in expected]
    hashed = hash_files(Path(), names, description=description, algorithm="md5")
    return [Path(name) for name, md5 in hashed if md5 != expected[Path(name)]]
