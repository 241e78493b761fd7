"""Fetching a published corpus: download, check, unpack, and put in its place.

Everything happens in a folder `.fetch-…` inside the target folder, whose content says how far the work is: an archive
that grows is being downloaded, one with a copy of its directory beside it is being unpacked. Unpacked files lie in that
folder as well, until all are there. Then a single rename puts the corpus in its place.

The archive is hashed as it lies on the disk, after the download and before anything is unpacked: this also covers what
earlier runs had downloaded, and nothing unchecked is ever unpacked.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from drum_crnn.foundation.console import byte_progress, say
from drum_crnn.foundation.errors import DrumCrnnError, refused_error
from drum_crnn.foundation.lock import folder_lock
from drum_crnn.foundation.stopping import StopRequest
from drum_crnn.preparation.download import discard, download, downloaded_bytes
from drum_crnn.preparation.unpacking import (
    begin_unpacking,
    has_begun_unpacking,
    missing_bytes,
    unpack_shrinking,
)

__all__ = ["DATASETS", "Dataset", "fetch"]

_ZIP_MAGIC = b"PK\x03\x04"
_BUCKET = "https://storage.googleapis.com/magentadata/datasets"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A published archive: its address, length in bytes, checksum, and how many bytes it unpacks to (0: not published).

    Of E-GMD, its page (https://magenta.tensorflow.org/datasets/e-gmd) has the checksum and the unpacked size. The
    length is the one that its server tells. Of Groove, TensorFlow Datasets has checksums and lengths
    (https://github.com/tensorflow/datasets, tensorflow_datasets/datasets/groove/checksums.tsv).
    """

    url: str
    n_bytes: int
    sha256: str
    n_unpacked_bytes: int = 0

    @property
    def folder(self) -> str:
        """Name of the folder that the corpus gets."""
        return PurePosixPath(self.url).stem


DATASETS = {
    "egmd": Dataset(
        f"{_BUCKET}/e-gmd/v1.0.0/e-gmd-v1.0.0.zip",
        96_422_999_145,
        "7d9a264fb4c9eabd9fec09d5f8e333192f529b1a1b845d170279a977ac436053",
        132 << 30,  # its page says GB, and means GiB: 444 h of 16 bits at 44,100 Hz
    ),
    "groove": Dataset(
        f"{_BUCKET}/groove/groove-v1.0.0.zip",
        5_111_599_714,
        "21559feb2f1c96ca53988fd4d7060b1f2afe1d854fb2a8dcea5ff95cf3cce7e9",
    ),
    "groove-midi": Dataset(
        f"{_BUCKET}/groove/groove-v1.0.0-midionly.zip",
        3_260_318,
        "651cbc524ffb891be1a3e46d89dc82a1cecb09a57c748c7b45b844c4841dcc1e",
    ),
}


def fetch(dataset: Dataset, to: Path, *, url: str | None = None, sha256: str | None = None) -> Path:
    """Download and unpack a corpus, or do the rest of it. The disk holds the archive or the corpus, never both.

    Parameters
    ----------
    to : Path
        The folder that gets the corpus as a folder of its own. Its disk holds the unfinished work, too.
    url : str, optional
        A mirror.
    sha256 : str, optional
        The checksum of the archive, if the mirror has another one than the published.

    Returns
    -------
    Path
        The folder of the corpus. If it existed before, nothing was done.

    Raises
    ------
    DrumCrnnError
        If the archive cannot be had or has another checksum, if an entry of it is not safe, or if the disk is full.
    """
    target, work = to / dataset.folder, to / f".fetch-{dataset.folder}"
    archive, tree = work / "archive.zip", work / "tree"
    try:
        if target.exists():
            say(f"{target}: exists already, so nothing is fetched; to fetch it anew, move it away")
        else:
            with folder_lock(work, StopRequest(), wait_s=0.0):
                if not has_begun_unpacking(archive):
                    _download(dataset, archive, to, url or dataset.url, is_published=sha256 is None)
                    _check(archive, (sha256 or dataset.sha256).lower())
                    begin_unpacking(archive)
                _need(to, missing_bytes(archive), "unpack it")
                with byte_progress("unpacking") as report:
                    unpack_shrinking(archive, tree, report=report)
                _only_folder(tree).replace(target)
        if downloaded_bytes(archive) == 0:  # all of it is unpacked
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise refused_error(Path(error.filename or to), error, "written") from None
    return target


def _download(dataset: Dataset, archive: Path, to: Path, url: str, *, is_published: bool) -> None:
    """Download the archive; what is known of the published one may not hold of another."""
    n_here = downloaded_bytes(archive)
    if is_published:
        _need(to, max(dataset.n_bytes, dataset.n_unpacked_bytes) - n_here, "download and unpack it")
    say(f"{url}: {f'continuing after {_giga(n_here)}' if n_here else 'downloading'}")
    with byte_progress("downloading") as report:
        expected = dataset.n_bytes if is_published else None
        download(url, archive, n_bytes=expected, begins_with=_ZIP_MAGIC, report=report)


def _check(archive: Path, expected: str) -> None:
    digest, n_done, n_bytes = hashlib.sha256(), 0, archive.stat().st_size
    with archive.open("rb") as file, byte_progress("checking") as report:
        report(0, n_bytes)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            n_done += len(chunk)
            report(n_done, n_bytes)
    if digest.hexdigest() != expected:
        discard(archive)
        raise DrumCrnnError(
            f"the archive has the sha256 {digest.hexdigest()} instead of {expected}: it was damaged on its way, or is "
            "another one; it was deleted, so run the same command again, or name a mirror with --url"
        )


def _need(folder: Path, n_bytes: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise DrumCrnnError(
            f"{folder}: {_giga(n_bytes)} must be free to {what}, and {_giga(free)} are; make room, or choose another "
            "disk with --to"
        )


def _giga(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


def _only_folder(tree: Path) -> Path:
    """The single folder in which an archive keeps everything, else the folder that it was unpacked into."""
    content = list(tree.iterdir())
    return content[0] if len(content) == 1 and content[0].is_dir() else tree
