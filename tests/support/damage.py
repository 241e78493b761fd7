"""What a bad disk does to a file."""

import os
import stat
from pathlib import Path


def flip_bit(path: Path, place: int, *, bit: int = 0) -> None:
    """Change one bit of a file, and neither its size nor its time, nor that DVC has made it read-only."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("rb+") as file:
        file.seek(place)
        [byte] = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
