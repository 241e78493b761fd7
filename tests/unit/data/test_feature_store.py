"""Reading frames back: in part, from several processes, and from damaged files."""

import pickle
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from builders import RATE, make_store, noise, small_features
from hypothesis import given, settings
from hypothesis import strategies as st
from little_memory import only_linux, run_limited
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from drum_crnn.data.feature_store import BLOCK_FRAMES, SHARD_FORMAT, FeatureStore, Shard
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.log_mel import LogMel
from drum_crnn.music.quantisation import rounded

AUDIO = {f"recording{i}": noise(7000 * i + 1, seed=i) for i in range(1, 6)}
FLOOR_DB = small_features().floor_db
FRAMES = {name: rounded(LogMel(small_features())(audio), floor_db=FLOOR_DB) for name, audio in AUDIO.items()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return make_store(tmp_path_factory.mktemp("store"), AUDIO)


class Recordings(Dataset[NDArray[np.float32]]):
    """Whole recordings, as a loader's workers read them."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return len(AUDIO)

    def __getitem__(self, place: int) -> NDArray[np.float32]:
        return self.store.read(list(AUDIO)[place])


@pytest.mark.processes
@pytest.mark.parametrize(("method", "n_workers"), [("fork", 2), ("spawn", 1)])
def test_workers_read_what_the_parent_reads(store: FeatureStore, method: str, n_workers: int) -> None:
    for name in AUDIO:
        store.read(name)  # opens every shard before the fork
    loader = DataLoader(
        Recordings(store), batch_size=None, num_workers=n_workers, multiprocessing_context=method, collate_fn=np.asarray
    )
    for name, frames in zip(AUDIO, loader, strict=True):
        np.testing.assert_array_equal(frames, FRAMES[name])


READ_ALL = """
import sys
from pathlib import Path
from drum_crnn.data.feature_store import FeatureStore

store = FeatureStore.open(Path(sys.argv[1]))
allow(64_000_000)
for number in range(24):
    for start in range(0, 50_000, 1_000):
        assert store.read(f"recording{number}", start, start + 1_000).shape == (1_000, 84)
"""


@pytest.mark.processes
@only_linux
def test_reading_from_many_shards_needs_no_more_memory_than_from_one(tmp_path: Path) -> None:
    """HDF5 2.0 would keep 8 MiB of each: 190 MB here, 2 GB of E-GMD's shards, in each process of a loader."""
    params = small_features().model_copy(update={"n_mels": 84})
    for number in range(24):
        with h5py.File(tmp_path / f"shard-{number:04d}.h5", "w") as file:
            file.attrs["format"] = SHARD_FORMAT
            file.attrs["signature"] = np.bytes_("signature")
            file.attrs["params"] = np.bytes_(params.model_dump_json())
            file["recording"], file["source"] = [f"recording{number}".encode()], [b"checksum"]
            file["offset"] = [0, 50_000]
            file["frames"] = np.zeros((50_000, 84), np.uint8)
            sizes = [min(BLOCK_FRAMES, 50_000 - start) for start in range(0, 50_000, BLOCK_FRAMES)]
            file["checksum"] = [zlib.crc32(bytes(84 * size)) for size in sizes]
    done = run_limited(READ_ALL, tmp_path)
    assert done.returncode == 0, done.stderr


def test_pickled_store_reads_the_same(store: FeatureStore) -> None:
    store.read("recording1")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.params == store.params == small_features()
    assert copy.fingerprint() == store.fingerprint()
    for name in AUDIO:
        np.testing.assert_array_equal(copy.read(name), FRAMES[name])


@settings(deadline=None)
@given(name=st.sampled_from(list(AUDIO)), start=st.integers(0, 120), stop=st.none() | st.integers(0, 120))
def test_part_is_a_slice_of_the_whole(store: FeatureStore, name: str, start: int, stop: int | None) -> None:
    """Also where it begins or ends beyond the end: never a frame of the next recording."""
    part = store.read(name, start, stop)
    np.testing.assert_array_equal(part, FRAMES[name][start:stop])
    assert part.dtype == np.float32
    assert store.n_frames(name) == len(FRAMES[name])


def test_no_file_stays_open_in_hdf5(store: FeatureStore) -> None:
    """HDF5 2.0 keeps up to 8 MiB of each open dataset. With 256 shards, that is 2 GB in each process of a loader."""
    for name in AUDIO:
        store.read(name)
    opened = {h5py.h5f.get_name(file).decode() for file in h5py.h5f.get_obj_ids(types=h5py.h5f.OBJ_FILE)}
    assert not {str(path) for path in store.directory.iterdir()} & opened


def test_start_before_the_recording_is_refused(store: FeatureStore) -> None:
    with pytest.raises(ValueError, match="start is -1"):
        store.read("recording3", -1, 5)


def test_unknown_recording_is_named(store: FeatureStore) -> None:
    assert "recording1" in store
    assert "recording9" not in store
    with pytest.raises(DrumCrnnError, match=r"no features of the recording 'recording9'; run `dvc repro extract`"):
        store.read("recording9")
    with pytest.raises(DrumCrnnError, match="recording9"):
        store.n_frames("recording9")


def test_fingerprint_follows_the_audio(store: FeatureStore, tmp_path: Path) -> None:
    same = make_store(tmp_path / "same", AUDIO)
    other = make_store(tmp_path / "other", AUDIO | {"recording1": noise(7001, seed=77)})
    assert same.fingerprint() == store.fingerprint() != other.fingerprint()


def test_directory_without_shards_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DrumCrnnError, match=r"holds no feature shards; run `dvc repro extract`"):
        FeatureStore.open(tmp_path)


def test_shards_of_different_parameters_do_not_mix(tmp_path: Path) -> None:
    make_store(tmp_path / "one", AUDIO)
    make_store(tmp_path / "two", {"x": noise(100)}, small_features(floor_db=-70.0, n_shards=1))
    (tmp_path / "two/features/shard-0000.h5").rename(tmp_path / "one/features/shard-0009.h5")
    with pytest.raises(DrumCrnnError, match=r"shard-0009\.h5: was made with other parameters than shard-000"):
        FeatureStore.open(tmp_path / "one/features")


def test_any_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Frames, ids, offsets and parameters are all under a checksum, and reading never hangs nor crashes."""
    store = make_store(tmp_path, {"a": noise(9000), "b": noise(RATE // 4, seed=1)}, small_features(n_shards=1))
    whole = {name: store.read(name) for name in "ab"}
    [path] = (tmp_path / "features").iterdir()
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    n_noticed = 0
    n_trials = 150
    for place, bit in zip(rng.integers(len(content), size=n_trials), rng.integers(8, size=n_trials), strict=True):
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.unlink()  # a new file: HDF5 would answer for an old one from memory
        path.write_bytes(damaged)
        try:
            again = FeatureStore.open(tmp_path / "features")
            for name, frames in whole.items():
                np.testing.assert_array_equal(again.read(name), frames)
        except DrumCrnnError as error:
            n_noticed += 1
            assert f"{path}: is damaged" in str(error)  # noqa: PT017  # not every bit is noticed
            assert f"delete {path}, then run `dvc repro extract`" in str(error)  # noqa: PT017  # as above
    assert n_noticed > n_trials / 2


@pytest.mark.parametrize("column", ["recording", "source", "offset", "checksum", "frames"])
def test_every_column_is_under_a_checksum(tmp_path: Path, column: str) -> None:
    make_store(tmp_path, {"a": noise(9000), "b": noise(5000)}, small_features(n_shards=1))
    path = tmp_path / "features" / "shard-0000.h5"
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        if column == "frames":
            middle = file[column].id.get_offset() + file[column].nbytes // 2
        else:
            chunk = file[column].id.get_chunk_info(0)
            middle = chunk.byte_offset + chunk.size // 2
    content[middle] ^= 1
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(DrumCrnnError, match=r"shard-0000\.h5: is damaged"):
        FeatureStore.open(tmp_path / "features").read("b")


def test_shard_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shard-0000.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"] = 1
    with pytest.raises(DrumCrnnError, match=r"shard-0000\.h5: .*another version"):
        Shard(path)
