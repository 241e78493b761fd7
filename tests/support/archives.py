"""Zip archives as corpora are published in."""

import csv
import io
import random
import stat
import zipfile
from pathlib import Path

from drum_crnn.data.corpus import EGMD_COLUMNS


def write_zip(path: Path, entries: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> None:
    """Write a zip archive; a name that ends with `/` is a folder."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def zipped(folder: Path, entries: dict[str, bytes]) -> bytes:
    """The bytes of a zip archive, which is written into a folder."""
    path = folder / "archive.zip"
    write_zip(path, entries)
    return path.read_bytes()


def unpacked_egmd(entries: dict[str, bytes]) -> dict[str, bytes]:
    """The files that the entries of `egmd_like` become, by their paths below the corpus."""
    return {name.removeprefix("e-gmd-v1.0.0/"): content for name, content in entries.items() if not name.endswith("/")}


def write_zip_with_link(path: Path, name: str, target: str) -> None:
    """Write a zip archive with a symbolic link, as Info-ZIP does."""
    link = zipfile.ZipInfo(name)
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("drums/info.csv", b"")
        archive.writestr(link, target)


def egmd_like(n_files: int, n_bytes: int) -> dict[str, bytes]:
    """The entries of an archive that is laid out like E-GMD's; its audio is noise, so that it hardly compresses."""
    draw = random.Random(0)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(EGMD_COLUMNS)
    entries: dict[str, bytes] = {"e-gmd-v1.0.0/": b"", "e-gmd-v1.0.0/drummer1/": b""}
    for n in range(n_files):
        name = f"drummer1/session1/{n}_funk_80_beat_4-4_1"
        performance = ("drummer1", "drummer1/session1", f"drummer1/session1/{n}", "funk", 80, "beat", "4-4", 1.5)
        rows.writerow([*performance, "train", f"{name}.midi", f"{name}.wav", "Acoustic Kit"])
        entries[f"e-gmd-v1.0.0/{name}.midi"] = draw.randbytes(100)
        entries[f"e-gmd-v1.0.0/{name}.wav"] = draw.randbytes(n_bytes) + bytes(n_bytes // 2)
    entries["e-gmd-v1.0.0/e-gmd-v1.0.0.csv"] = table.getvalue().encode()
    return entries


def files_below(folder: Path) -> dict[str, bytes]:
    """The files of a tree, by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
