"""HDF5 files that appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from drum_crnn.foundation.atomic import replace_file

__all__ = ["replace_hdf5"]


@contextmanager
def replace_hdf5(target: Path) -> Iterator[h5py.File]:
    """Yield an empty HDF5 file; if the block ends without an error, it replaces `target`.

    Its headers have checksums. It is built in memory, because the HDF5 library crashes when it closes a file on a full
    disk.

    Raises
    ------
    DrumCrnnError
        As `replace_file`.
    """
    with replace_file(target) as temporary:
        with h5py.File(target.name, "w", driver="core", backing_store=False, libver="v110") as file:
            yield file
            file.flush()
            content = file.id.get_file_image()
        temporary.write_bytes(content)
