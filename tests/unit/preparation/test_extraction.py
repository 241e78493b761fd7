"""Shards whose bytes depend only on audio, parameters and code; and what happens on errors."""

import hashlib
import platform
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
from builders import HOP, RATE, noise, small_features, write_corpus

from drum_crnn.data.catalog import Catalog
from drum_crnn.data.feature_store import BLOCK_FRAMES, FeatureStore
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.log_mel import FeatureParams, LogMel
from drum_crnn.music.quantisation import rounded
from drum_crnn.music.timing import n_frames_of
from drum_crnn.preparation import extraction
from drum_crnn.preparation.extraction import ExtractionReport, extract_corpus

PARAMS = small_features()
LENGTHS = {"a": 1, "b": 441, "c": 442, "drummer1/d": 30_001, "e": 70_000, "f": 44_100, "ü": 12_345}


def audio_of(name: str, *, seed: int = 0) -> np.ndarray:
    return noise(LENGTHS[name], seed=seed + sum(name.encode()))


def extract(
    root: Path, catalog: Catalog, target: Path, *, params: FeatureParams = PARAMS, n_workers: int = 1
) -> ExtractionReport:
    return extract_corpus(root, catalog, target, params, n_workers=n_workers)


def bytes_of(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "corpus"


@pytest.fixture
def catalog(root: Path) -> Catalog:
    return write_corpus(root, {name: audio_of(name) for name in LENGTHS})


def test_frames_of_every_recording_are_stored_as_half_floats(root: Path, catalog: Catalog, tmp_path: Path) -> None:
    report = extract(root, catalog, tmp_path / "features")
    assert (report.n_computed, report.n_kept) == (len(LENGTHS), 0)
    assert report.audio_s == pytest.approx(sum(LENGTHS.values()) / RATE)
    store = FeatureStore.open(tmp_path / "features")
    log_mel = LogMel(PARAMS)
    for name, n_samples in LENGTHS.items():
        assert store.n_frames(name) == n_frames_of(n_samples, HOP)
        np.testing.assert_array_equal(store.read(name), rounded(log_mel(audio_of(name)), floor_db=PARAMS.floor_db))


@pytest.mark.processes
def test_bytes_do_not_depend_on_workers_nor_on_the_order_of_the_catalog(
    root: Path, catalog: Catalog, tmp_path: Path
) -> None:
    extract(root, catalog, tmp_path / "one")
    extract(root, Catalog(catalog.entries[::-1]), tmp_path / "two", n_workers=2)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert 1 < len(bytes_of(tmp_path / "one")) <= PARAMS.n_shards


def test_bytes_do_not_depend_on_history_and_only_what_changed_is_computed(
    root: Path, catalog: Catalog, tmp_path: Path
) -> None:
    target = tmp_path / "features"
    extract(root, catalog, target)
    before = bytes_of(target)
    again = extract(root, catalog, target)
    assert (again.n_computed, again.n_kept) == (0, len(LENGTHS))
    assert bytes_of(target) == before

    # One recording sounds different (and is as long as before), one goes, one comes.
    audio = {name: audio_of(name, seed=9 if name == "e" else 0) for name in LENGTHS if name != "c"}
    changed = write_corpus(root, audio | {"new": noise(5000)})
    report = extract(root, changed, target)
    assert (report.n_computed, report.n_kept) == (2, len(LENGTHS) - 2)
    assert report.audio_s == pytest.approx((LENGTHS["e"] + 5000) / RATE)
    extract(root, changed, tmp_path / "fresh")
    assert bytes_of(target) == bytes_of(tmp_path / "fresh") != before

    back = write_corpus(root, {name: audio_of(name) for name in LENGTHS})
    assert extract(root, back, target).n_computed == 2
    assert bytes_of(target) == before


def test_other_parameters_compute_everything_again(root: Path, catalog: Catalog, tmp_path: Path) -> None:
    extract(root, catalog, tmp_path / "features")
    other = small_features(floor_db=-80.0)
    report = extract(root, catalog, tmp_path / "features", params=other)
    assert (report.n_computed, report.n_kept) == (len(LENGTHS), 0)
    assert FeatureStore.open(tmp_path / "features").params == other


def test_other_code_computes_everything_again(
    root: Path, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(root, catalog, tmp_path / "features")
    edited = tmp_path / "features.py"
    edited.write_text("# another way to compute frames\n", encoding="utf-8")
    monkeypatch.setattr("drum_crnn.music.log_mel.__file__", str(edited))
    assert extract(root, catalog, tmp_path / "features").n_computed == len(LENGTHS)


def test_fewer_shards_leave_no_old_ones(root: Path, catalog: Catalog, tmp_path: Path) -> None:
    target = tmp_path / "features"
    extract(root, catalog, target)
    extract(root, catalog, target, params=small_features(n_shards=1))
    assert [path.name for path in target.iterdir()] == ["shard-0000.h5"]


def test_frames_lie_in_one_piece(root: Path, catalog: Catalog, tmp_path: Path) -> None:
    """So that any part of a recording is one read; and nothing in between that could hold uninitialised bytes."""
    extract(root, catalog, tmp_path / "features")
    for path in (tmp_path / "features").iterdir():
        with h5py.File(path) as file:
            frames, checksums = file["frames"], file["checksum"][:]
            assert (frames.chunks, frames.compression, frames.dtype) == (None, None, np.uint8)
            start = frames.id.get_offset()
            content = path.read_bytes()[start : start + frames.nbytes]
            assert content == frames[:].tobytes()
            size = BLOCK_FRAMES * frames.shape[1]
            blocks = [content[place : place + size] for place in range(0, len(content), size)]
            assert [zlib.crc32(block) for block in blocks] == checksums.tolist()


def test_bytes_do_not_depend_on_when_python_closes_a_dataset(
    root: Path, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The profiler of a Dask worker holds what a function that it looks at has in its hands."""
    extract(root, catalog, tmp_path / "features")
    held = []
    create = h5py.File.create_dataset

    def create_and_hold(*args: Any, **options: Any) -> Any:
        held.insert(0, create(*args, **options))  # the last one is freed first
        return held[0]

    monkeypatch.setattr(h5py.File, "create_dataset", create_and_hold)
    extract(root, catalog, tmp_path / "held")
    assert bytes_of(tmp_path / "held") == bytes_of(tmp_path / "features")


def test_shards_that_nobody_wants_are_removed(root: Path, catalog: Catalog, tmp_path: Path) -> None:
    target = tmp_path / "features"
    extract(root, catalog, target)
    before = bytes_of(target)
    (target / "shard-0099.h5").write_bytes(b"left by another n_shards")
    extract(root, catalog, target)
    assert bytes_of(target) == before


def test_what_is_no_shard_is_left_alone(root: Path, catalog: Catalog, tmp_path: Path) -> None:
    target = tmp_path / "features"
    (target / ".git").mkdir(parents=True)
    with pytest.raises(DrumCrnnError, match=r"\.git: is not a feature shard; move it away"):
        extract(root, catalog, target)
    assert (target / ".git").is_dir()


@pytest.mark.parametrize("damage", ["text", "empty", "truncated", "frames"])
def test_damaged_shard_is_computed_again(root: Path, catalog: Catalog, tmp_path: Path, damage: str) -> None:
    target, params = tmp_path / "features", small_features(n_shards=1)
    extract(root, catalog, target, params=params)
    before = bytes_of(target)
    [shard] = target.iterdir()
    content = shard.read_bytes()
    with h5py.File(shard) as file:
        place = file["frames"].id.get_offset()
    shard.unlink()
    shard.write_bytes(
        {
            "text": b"not a shard",
            "empty": b"",
            "truncated": content[: len(content) // 2],
            "frames": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
        }[damage]
    )
    if damage == "frames":  # found when frames of the old shard are to be kept for a new one
        catalog = write_corpus(root, {name: audio_of(name) for name in LENGTHS} | {"z": noise(99)})
        extract(root, catalog, tmp_path / "fresh", params=params)
        before = bytes_of(tmp_path / "fresh")
    report = extract(root, catalog, target, params=params)
    assert report.n_computed > 1
    assert bytes_of(target) == before


def test_recording_of_another_length_than_catalogued_is_named_and_nothing_is_replaced(
    root: Path, catalog: Catalog, tmp_path: Path
) -> None:
    target, params = tmp_path / "features", small_features(n_shards=1)
    extract(root, catalog, target, params=params)
    before = bytes_of(target)
    longer = Catalog(
        tuple(
            replace(entry, n_samples=entry.n_samples + HOP, audio_sha256="1" * 64) if entry.recording == "e" else entry
            for entry in catalog
        )
    )
    with pytest.raises(DrumCrnnError, match=r"e\.wav: has 159 frames, but the catalog says 160.*`dvc repro catalog`"):
        extract(root, longer, target, params=params)
    assert bytes_of(target) == before


def test_audio_that_changed_after_the_catalog_is_never_kept_under_its_old_checksum(
    root: Path, catalog: Catalog, tmp_path: Path
) -> None:
    """It is as long as before, so that only its content tells; a fingerprint may be as old."""
    target, params = tmp_path / "features", small_features(n_shards=1)
    soundfile.write(root / "e.wav", audio_of("e", seed=9), RATE, "FLOAT")
    with pytest.raises(DrumCrnnError, match=r"e\.wav: has changed since the catalog was made.*`dvc repro catalog`"):
        extract(root, catalog, target, params=params)
    assert list(target.iterdir()) == []
    renewed = write_corpus(root, {name: audio_of(name, seed=9 if name == "e" else 0) for name in LENGTHS})
    assert extract(root, renewed, target, params=params).n_computed == len(LENGTHS)


@pytest.mark.parametrize("when", ["before it is decoded", "after"])
def test_audio_that_changes_while_it_is_read_stops_the_extraction(
    root: Path, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """One copy is decoded and the other is hashed, whichever of them the catalog describes."""
    right, wrong = (root / "e.wav").read_bytes(), audio_of("e", seed=9)
    read_blocks = extraction.read_blocks

    def changing(path: Path, *, sample_rate: int) -> Iterator[np.ndarray]:
        if path.name == "e.wav" and when == "before it is decoded":
            soundfile.write(path, wrong, RATE, "FLOAT")
        yield from read_blocks(path, sample_rate=sample_rate)
        if path.name == "e.wav":
            path.write_bytes(right) if when == "before it is decoded" else soundfile.write(path, wrong, RATE, "FLOAT")

    monkeypatch.setattr(extraction, "read_blocks", changing)
    with pytest.raises(DrumCrnnError, match=r"e\.wav: has changed since the catalog was made"):
        extract(root, catalog, tmp_path / "features", params=small_features(n_shards=1))
    assert list((tmp_path / "features").iterdir()) == []


def test_audio_that_is_not_finite_is_named(root: Path, tmp_path: Path) -> None:
    bad = audio_of("e")
    bad[60_000] = np.nan
    catalog = write_corpus(root, {"good": noise(1000), "bad": bad})
    with pytest.raises(DrumCrnnError, match=r"bad\.wav: has samples that are not finite"):
        extract(root, catalog, tmp_path / "features", params=small_features(n_shards=1))
    assert list((tmp_path / "features").iterdir()) == []


@pytest.mark.processes
def test_error_in_a_worker_reaches_the_user(root: Path, catalog: Catalog, tmp_path: Path) -> None:
    (root / "e.wav").unlink()
    with pytest.raises(DrumCrnnError, match=r"e\.wav: there is no such file"):
        extract(root, catalog, tmp_path / "features", n_workers=2)


@pytest.mark.parametrize("sample_rate", [22_050, 32_000])
def test_frames_at_another_rate_than_the_corpus(tmp_path: Path, sample_rate: int) -> None:
    """Recordings of one frame more or less at the new rate, and of a length that is not a multiple."""
    lengths = [1, 441, 442, 881, 882, 883, 29_999, 30_001, 44_103]
    catalog = write_corpus(tmp_path / "corpus", {f"r{n}": noise(n) for n in lengths})
    params = small_features(sample_rate=sample_rate, hop_length=sample_rate // 100, fmax=10_000.0)
    extract(tmp_path / "corpus", catalog, tmp_path / "features", params=params)
    store = FeatureStore.open(tmp_path / "features")
    for n in lengths:
        assert abs(store.n_frames(f"r{n}") - n_frames_of(n, HOP)) <= 1


def test_sound_of_a_resampled_corpus_keeps_its_place(tmp_path: Path) -> None:
    audio = np.zeros(RATE, np.float32)
    audio[50 * HOP] = 0.9
    catalog = write_corpus(tmp_path / "corpus", {"click": audio})
    params = small_features(sample_rate=22_050, hop_length=220, n_fft=512, fmax=10_000.0)
    extract(tmp_path / "corpus", catalog, tmp_path / "features", params=params)
    loudness = FeatureStore.open(tmp_path / "features").read("click").astype(np.float32).mean(axis=1)
    assert loudness.argmax() == round(0.5 * params.frame_rate)


def test_stereo_is_averaged(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    stereo = np.stack([2 * noise(5000), np.zeros(5000, np.float32)], axis=1)
    catalog = write_corpus(tmp_path / "corpus", {"x": stereo})
    extract(tmp_path / "corpus", catalog, tmp_path / "features")
    frames = FeatureStore.open(tmp_path / "features").read("x")
    np.testing.assert_allclose(frames, LogMel(PARAMS)(noise(5000)), atol=0.2501)  # steps of half a decibel


def test_what_another_machine_lacks_is_told_before_anything_is_written(
    root: Path, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "features"
    target.mkdir()
    probe = target / "probe"
    probe.touch()
    job = extraction._ShardJob(root, target / "shard-0000.h5", catalog.entries, PARAMS)
    shared = extraction._Shared(probe, extraction._signature(PARAMS), extraction._versions())
    machine = re.escape(f"the worker on {platform.node()}")
    hidden = replace(job, root=tmp_path / "elsewhere")
    with pytest.raises(DrumCrnnError, match=f"elsewhere: {machine} does not see this folder; keep it at the same path"):
        extraction._write_shard_elsewhere(shared, hidden)
    with pytest.raises(DrumCrnnError, match=f"features: {machine} does not see this folder"):
        extraction._write_shard_elsewhere(replace(shared, probe=target / "unseen"), job)
    with pytest.raises(DrumCrnnError, match=f"{machine} has another version of drum_crnn"):
        extraction._write_shard_elsewhere(replace(shared, signature="another"), job)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.metadata.version", lambda name: "0.1" if name == "numpy" else shared.versions[name])
        with pytest.raises(
            DrumCrnnError, match=rf"{machine} has numpy 0\.1; install .*: h5py .*, numpy {np.__version__}"
        ):
            extraction._write_shard_elsewhere(shared, job)
    assert list(target.iterdir()) == [probe]
    assert extraction._write_shard_elsewhere(shared, job).n_computed == len(LENGTHS)
