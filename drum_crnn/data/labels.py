"""Labels: the onsets and ignore windows of every recording."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from drum_crnn.data.label_problems import LabelProblem
from drum_crnn.foundation.errors import DrumCrnnError, damaged_error
from drum_crnn.foundation.hdf5 import replace_hdf5
from drum_crnn.foundation.tables import write_rows
from drum_crnn.music.lanes import LANES
from drum_crnn.music.onsets import IgnoreWindows, Onsets

__all__ = ["AccountRow", "Labels"]

# Reasons of the accounting for which a note counts neither as onset nor as silence, because it is inaudible.
_INAUDIBLE = ("soft", "inaudible")

_FORMAT = 2
_LANES = ",".join(LANES)
_CHUNK = 1 << 16

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AccountRow:
    """Notes of one number with one reason, of all recordings of a kit; `lane` is empty for a note of no lane."""

    kit: str
    reason: str
    note: int
    lane: str
    count: int


@dataclass(frozen=True, eq=False)
class Labels:
    """Onsets and ignore windows of all recordings, one after another in flat arrays.

    Attributes
    ----------
    recordings : tuple of str
        Ids, in the catalog's order.
    onset_offset, ignore_offset : int64 array, shape (n_recordings + 1,)
        Recording i owns the slice `offset[i]:offset[i + 1]`.
    onset_time_s, onset_lane, onset_velocity : float64, int8 and uint8 arrays, shape (n_onsets,)
        In order of time, then lane, within each recording.
    ignore_start_s, ignore_end_s, ignore_lane : float64, float64 and int8 arrays, shape (n_windows,)
        In order of start, then lane, within each recording; windows of one lane do not overlap.
    accounting : tuple of AccountRow
    problems : tuple of LabelProblem
        Both known when labels are made, empty when they are read.
    """

    recordings: tuple[str, ...]
    onset_offset: IntArray
    onset_time_s: FloatArray
    onset_lane: NDArray[np.int8]
    onset_velocity: NDArray[np.uint8]
    ignore_offset: IntArray
    ignore_start_s: FloatArray
    ignore_end_s: FloatArray
    ignore_lane: NDArray[np.int8]
    accounting: tuple[AccountRow, ...] = ()
    problems: tuple[LabelProblem, ...] = ()
    _index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {recording: i for i, recording in enumerate(self.recordings)})
        # Once for all recordings, since training reads thousands of them a second.
        onsets: tuple[NDArray[Any], ...] = (self.onset_time_s, self.onset_lane, self.onset_velocity)
        windows: tuple[NDArray[Any], ...] = (self.ignore_start_s, self.ignore_end_s, self.ignore_lane)
        for kind, offset, columns in (("onset", self.onset_offset, onsets), ("ignore", self.ignore_offset, windows)):
            if len(offset) != len(self.recordings) + 1 or offset[0] != 0 or {offset[-1]} != set(map(len, columns)):
                raise ValueError(f"{kind}_offset does not fit the recordings")
            falls = np.flatnonzero(columns[0][1:] < columns[0][:-1]) + 1
            if (np.diff(offset) < 0).any() or not np.isin(falls, offset).all():
                raise ValueError(f"the times of a recording are not in order ({kind})")
        # In pieces, since the check takes more room than the labels.
        for start in range(0, max(len(self.onset_time_s), len(self.ignore_start_s)), _CHUNK):
            piece = slice(start, start + _CHUNK)
            Onsets(np.sort(self.onset_time_s[piece]), *(values[piece] for values in onsets[1:]))
            IgnoreWindows(*(values[piece] for values in windows))

    def __len__(self) -> int:
        return len(self.recordings)

    def __contains__(self, recording: str) -> bool:
        return recording in self._index

    def onsets(self, recording: str) -> Onsets:
        """The onsets of one recording; `DrumCrnnError` if it has no labels."""
        own = self._slice(recording, self.onset_offset)
        return Onsets.unchecked(
            self.onset_time_s[own], self.onset_lane[own].astype(np.int64), self.onset_velocity[own].astype(np.int64)
        )

    def ignored(self, recording: str) -> IgnoreWindows:
        """The ignore windows of one recording; `DrumCrnnError` if it has no labels."""
        own = self._slice(recording, self.ignore_offset)
        return IgnoreWindows.unchecked(
            self.ignore_start_s[own], self.ignore_end_s[own], self.ignore_lane[own].astype(np.int64)
        )

    def _slice(self, recording: str, offset: IntArray) -> slice:
        index = self._index.get(recording)
        if index is None:
            raise DrumCrnnError(f"there are no labels for the recording '{recording}'; run `dvc repro label`")
        return slice(int(offset[index]), int(offset[index + 1]))

    @classmethod
    def read(cls, path: Path, *, of: Collection[str] | None = None) -> Self:
        """Read `data/labels.h5` into memory: ten bytes an onset.

        Parameters
        ----------
        of : collection of str, optional
            Only these recordings; by default all.

        Raises
        ------
        DrumCrnnError
            If the file is missing or damaged, is not a file of labels, or was written with another list of lanes.
        """
        if not path.is_file():
            raise DrumCrnnError(f"{path}: there is no such file; run `dvc repro label`")
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != _FORMAT or file.attrs.get("lanes") != np.bytes_(_LANES):
                    raise DrumCrnnError(f"{path}: was written by another version of drum_crnn; run `dvc repro label`")
                recordings = bytes(file["recordings"][:]).decode("utf-8").split("\n") if len(file["recordings"]) else []
                if of is None:
                    return cls(tuple(recordings), **{name: file[name][:] for name in _DTYPES})
                are_wanted = np.array([recording in of for recording in recordings], np.bool_)
                some: dict[str, Any] = _read_some(file, are_wanted)
                return cls(tuple(recording for recording in recordings if recording in of), **some)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise damaged_error(path, error, "label") from None

    def write(self, path: Path) -> None:
        """Write as HDF5: equal labels give equal bytes. Checksums cover all content, as in a feature shard."""
        with replace_hdf5(path) as file:
            file.attrs["format"] = _FORMAT
            file.attrs["lanes"] = np.bytes_(_LANES)
            _write_array(file, "recordings", np.frombuffer("\n".join(self.recordings).encode("utf-8"), dtype=np.uint8))
            for name, dtype in _DTYPES.items():
                _write_array(file, name, np.asarray(getattr(self, name), dtype=dtype))

    def ignored_shares(self) -> dict[str, float]:
        """Share of each lane's notes that are inaudible: too soft, or masked by others; 0 for an empty lane."""
        shares = {}
        for lane in LANES:
            counts = dict.fromkeys(("onset", *_INAUDIBLE), 0)
            for row in self.accounting:
                if row.lane == lane and row.reason in counts:
                    counts[row.reason] += row.count
            n_notes = sum(counts.values())
            shares[lane] = 1.0 - counts["onset"] / n_notes if n_notes else 0.0
        return shares

    def write_accounting(self, path: Path) -> None:
        """Write the accounting of all notes as CSV: kit, reason, note, lane, count."""
        write_rows(path, AccountRow, self.accounting)

    def write_problems(self, path: Path) -> None:
        """Write the problems as CSV, for `read_label_problems`."""
        write_rows(path, LabelProblem, self.problems)


_DTYPES: dict[str, type[np.generic]] = {
    "onset_offset": np.int64,
    "onset_time_s": np.float64,
    "onset_lane": np.int8,
    "onset_velocity": np.uint8,
    "ignore_offset": np.int64,
    "ignore_start_s": np.float64,
    "ignore_end_s": np.float64,
    "ignore_lane": np.int8,
}


def _read_some(file: h5py.File, are_wanted: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """The arrays of some recordings; wanted ones that follow each other are read in one go."""
    edges = np.flatnonzero(np.diff(are_wanted, prepend=False, append=False)).reshape(-1, 2)
    arrays = {}
    for kind in ("onset", "ignore"):
        offset = file[f"{kind}_offset"][:]
        columns = [name for name in _DTYPES if name.startswith(kind) and name != f"{kind}_offset"]
        if len(offset) != len(are_wanted) + 1 or {offset[-1]} != {len(file[name]) for name in columns}:
            raise ValueError(f"{kind}_offset does not fit the recordings")
        arrays[f"{kind}_offset"] = np.cumsum([0, *np.diff(offset)[are_wanted]])
        for name in columns:
            parts = [file[name][offset[first] : offset[end]] for first, end in edges]
            arrays[name] = np.concatenate([np.empty(0, _DTYPES[name]), *parts])
    return arrays


def _write_array(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    if len(values):
        # Kits of one performance repeat its labels within deflate's 32 KiB, so they cost almost nothing. Shuffling
        # the bytes would break these repeats.
        options: dict[str, Any] = {"chunks": (min(len(values), _CHUNK),), "compression": "gzip", "compression_opts": 4}
        options["fletcher32"] = True
    else:
        options = {}
    # No time of creation: only this would differ between equal runs.
    file.create_dataset(name, data=values, track_times=False, **options)
