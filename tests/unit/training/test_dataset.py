"""Excerpts cover the recordings, shares divide the steps, and targets match the sound."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import augmentation, clicks, ignore, make_labels, make_store, onsets, small_features
from hypothesis import given, settings
from hypothesis import strategies as st

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.music.lanes import N_LANES
from drum_crnn.music.onsets import IgnoreWindows, Onsets
from drum_crnn.training.augment import Augmenter
from drum_crnn.training.dataset import Batch, ExcerptDataset, ExcerptKey, ExcerptPlan, ShareSampler
from drum_crnn.training.targets import Place, TargetArrays, frame_targets

WIDENING = (1.0, 0.5)
LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=8)


def plan(lengths: list[int], *, excerpt_frames: int = 50, seed: int = 0, per_epoch: int | None = None) -> ExcerptPlan:
    names = tuple(f"r{i}" for i in range(len(lengths)))
    return ExcerptPlan(names, np.array(lengths), excerpt_frames, seed, per_epoch)


@given(lengths=LENGTHS, excerpt_frames=st.integers(1, 120), seed=st.integers(0, 9), epoch=st.integers(0, 9))
def test_an_epoch_holds_every_frame_exactly_once(
    lengths: list[int], excerpt_frames: int, seed: int, epoch: int
) -> None:
    laid = plan(lengths, excerpt_frames=excerpt_frames, seed=seed)
    excerpts = list(laid.epoch(epoch))
    assert len(excerpts) == laid.n_excerpts()
    for name, n_frames in zip(laid.recordings, lengths, strict=True):
        starts = sorted(excerpt.start for excerpt in excerpts if excerpt.recording == name)
        covered = [start + i for start in starts for i in range(excerpt_frames)]
        assert [frame for frame in covered if 0 <= frame < n_frames] == list(range(n_frames))
        # The excerpts exceed the recording by less than one excerpt.
        assert len(covered) - n_frames < excerpt_frames
        assert all(b - a == excerpt_frames for a, b in pairwise(starts))


def test_order_and_cuts_follow_from_seed_and_epoch_alone() -> None:
    laid = plan([310, 120, 77])
    assert list(laid.epoch(3)) == list(plan([310, 120, 77]).epoch(3))
    assert list(laid.epoch(3)) != list(laid.epoch(4))
    assert list(laid.epoch(3)) != list(plan([310, 120, 77], seed=1).epoch(3))
    # Over many epochs, a recording is cut at every frame, so that each onset is near the middle of some excerpt.
    starts = {min(e.start for e in laid.epoch(epoch) if e.recording == "r0") for epoch in range(300)}
    assert starts == set(range(-40, 1))


def test_fewer_excerpts_an_epoch_are_a_draw_without_repetition() -> None:
    laid = plan([310, 120, 77], per_epoch=4)
    assert laid.n_excerpts() == len(laid.epoch(0)) == len(set(laid.epoch(0))) == 4
    assert {e.recording for epoch in range(20) for e in laid.epoch(epoch)} == {"r0", "r1", "r2"}
    assert plan([310], per_epoch=100).n_excerpts() == 7


@given(lengths=LENGTHS, batch_size=st.integers(1, 20), shares=st.sampled_from([[1], [1, 2], [5, 3], [7, 1, 4], [9, 1]]))
def test_shares_divide_every_step(lengths: list[int], batch_size: int, shares: list[int]) -> None:
    laid = plan(lengths)
    ranks = [list(ShareSampler(laid, batch_size=batch_size, rank=r, shares=shares)) for r in range(len(shares))]
    n_steps = laid.n_steps(batch_size)
    assert {len(steps) for steps in ranks} == {n_steps}
    n_left = laid.n_excerpts()
    for step in range(n_steps):
        size = min(batch_size, n_left)
        n_left -= size
        keys = [key for steps in ranks for key in steps[step] if key.counts]
        first = step * batch_size
        assert keys == [ExcerptKey(0, place) for place in range(first, first + size)]
        for rank, share in enumerate(shares):
            mine = ranks[rank][step]
            n_mine = sum(key.counts for key in mine)
            assert abs(n_mine - size * share / sum(shares)) < 1
            # Every rank has an excerpt to compute, so that none waits for ever.
            assert len(mine) == max(1, n_mine)
    assert n_left == 0


def test_whole_steps_are_divided_in_the_ratio_of_the_shares() -> None:
    sampler = [ShareSampler(plan([500, 100]), batch_size=6, rank=rank, shares=[1, 2]) for rank in (0, 1)]
    assert [len(step) for step in sampler[0]] == [2, 2]
    assert [len(step) for step in sampler[1]] == [4, 4]


def test_resumed_epoch_goes_on_with_the_same_steps() -> None:
    sampler = ShareSampler(plan([310, 120, 77]), batch_size=3, rank=1, shares=[1, 2])
    sampler.epoch = 5
    whole = list(sampler)
    sampler.first_step = 2
    assert list(sampler) == whole[2:]
    assert len(sampler) == len(whole) - 2
    assert {key.epoch for step in whole for key in step} == {5}


def brute_force_targets(
    played: Onsets,
    ignored: IgnoreWindows,
    *,
    n_frames: int,
    start_s: float,
    stretch: float,
    widening: list[float],
    between_frames: bool,
) -> tuple[TargetArrays, list[list[set[float]]]]:
    """Targets point by point, and the valid velocities of each point: those of the nearest onsets."""
    frame_of = [(t - start_s) / stretch * 100.0 for t in played.time_s]
    if not between_frames:
        frame_of = [round(frame) for frame in frame_of]

    def height(distance: float) -> float:
        whole = int(distance)
        low, high = ([*widening, 0.0][step] for step in (whole, min(whole + 1, len(widening))))
        return low + (distance - whole) * (high - low)

    arrays = TargetArrays(*(np.zeros((n_frames, N_LANES), np.float32) for _ in range(4)))
    arrays.onset_mask[:] = 1.0
    velocities: list[list[set[float]]] = [[set() for _ in range(N_LANES)] for _ in range(n_frames)]
    for frame in range(n_frames):
        for lane in range(N_LANES):
            near = [
                (abs(frame - frame_of[i]), int(played.velocity[i]))
                for i in range(len(played))
                if played.lane[i] == lane and abs(frame - frame_of[i]) < len(widening)
            ]
            if near:
                arrays.onset[frame, lane] = max(height(distance) for distance, _ in near)
                arrays.velocity_mask[frame, lane] = 1.0
                # By whole frames: of two onsets that share their nearest frame, either one may be meant.
                velocities[frame][lane] = {v / 127 for distance, v in near if distance < min(near)[0] + 1.0}
            for start, end, window_lane in zip(ignored.start_s, ignored.end_s, ignored.lane, strict=True):
                first, last = (round((t - start_s) / stretch * 100.0) for t in (start, end))
                if window_lane == lane and first <= frame <= last:
                    arrays.onset_mask[frame, lane] = arrays.velocity_mask[frame, lane] = 0.0
    return arrays, velocities


TIMES = st.integers(0, 300).map(lambda n: n * 0.00337)  # off the grid of frames; two may be in one frame


@settings(deadline=None, max_examples=60)
@given(
    notes=st.lists(st.tuples(TIMES, st.integers(0, 2), st.integers(1, 127)), max_size=12),
    windows=st.lists(st.tuples(TIMES, TIMES, st.integers(0, 2)), max_size=4),
    start_s=st.sampled_from([-0.13, 0.0, 0.5]),
    stretch=st.sampled_from([0.8, 1.0, 1.21]),
    widening=st.sampled_from([[1.0], [1.0, 0.5], [1.0, 0.6, 0.2]]),
    between_frames=st.booleans(),
)
def test_targets_are_those_of_brute_force(
    notes: list[tuple[float, int, int]],
    windows: list[tuple[float, float, int]],
    start_s: float,
    stretch: float,
    widening: list[float],
    between_frames: bool,
) -> None:
    played = onsets(*notes)
    ignored = ignore(*((min(a, b), max(a, b), lane) for a, b, lane in windows))
    places = [Place(played, ignored, start_s, stretch), Place(onsets(), ignore()), Place(played, ignored, 0.2, 1.1)]
    shape: Any = {"n_frames": 40, "widening": widening, "between_frames": between_frames}
    targets = frame_targets(places, frame_rate=100.0, **shape)
    for number, place in enumerate(places):
        expected, velocities = brute_force_targets(
            place.onsets, place.ignored, start_s=place.start_s, stretch=place.stretch, **shape
        )
        for name in ("onset", "onset_mask", "velocity_mask"):
            made, right = getattr(targets, name)[number], getattr(expected, name)
            np.testing.assert_allclose(made, right, atol=1e-6 if between_frames else 0.0, err_msg=name)
        for frame, lane in zip(*np.nonzero(targets.velocity_mask[number]), strict=True):
            assert any(abs(targets.velocity[number, frame, lane] - v) < 1e-6 for v in velocities[frame][lane])


def test_onset_outside_the_excerpt_widens_into_it() -> None:
    place = Place(onsets((0.99, 0), (1.20, 1)), ignore(), start_s=1.0)
    targets = frame_targets([place], n_frames=20, frame_rate=100.0, widening=WIDENING, between_frames=False)
    assert targets.onset[0, 0, 0] == 0.5
    assert targets.onset[0, 19, 1] == 0.5
    assert targets.onset.sum() == 1.0


# --- through a real store ---

CLICK_TIMES = [0.31, 0.9, 1.57, 2.2, 3.01, 3.5, 4.44, 5.2]
DURATION_S = 6.0
EXCERPT_FRAMES = 120


def click_dataset(root: Path, *, seed: int = 0, **effects: Any) -> ExcerptDataset:
    store = make_store(root, {"clicks": clicks(CLICK_TIMES, DURATION_S), "short": clicks([0.2], 0.4)}, small_features())
    labels = make_labels({"clicks": onsets(*((t, 1, 90) for t in CLICK_TIMES)), "short": onsets((0.2, 1, 60))})
    names = ("clicks", "short")
    laid = ExcerptPlan(names, np.array([store.n_frames(name) for name in names]), EXCERPT_FRAMES, seed, None)
    augmenter = Augmenter(augmentation(**effects), store.params, n_frames=EXCERPT_FRAMES)
    return ExcerptDataset(store, labels, laid, augmenter, widening=WIDENING, between_frames=False)


def whole_epoch(dataset: ExcerptDataset, epoch: int) -> Batch:
    return dataset.batch([ExcerptKey(epoch, place) for place in range(dataset.plan.n_excerpts())])


@pytest.mark.parametrize("limits", [[1.0, 1.0], [0.8, 1.25], [0.5, 0.9]])
def test_after_time_stretch_each_click_sounds_where_its_target_is(tmp_path: Path, limits: list[float]) -> None:
    dataset = click_dataset(tmp_path, time_stretch={"range": limits})
    n_found = 0
    for epoch in range(4):
        batch = whole_epoch(dataset, epoch)
        augmented = dataset.augmenter.apply(batch.frames, batch.draws).numpy()
        for excerpt, target in zip(augmented, batch.targets.onset.numpy(), strict=True):
            loudness = excerpt.mean(axis=1)
            for frame in np.flatnonzero(target[:, 1] == 1.0):
                if 8 < frame < EXCERPT_FRAMES - 8:
                    near = slice(frame - 8, frame + 9)
                    assert loudness[near].max() > -60.0
                    assert abs(loudness[near].argmax() - 8) <= 1
                    n_found += 1
    assert n_found > 15


def test_without_stretch_an_epoch_holds_each_target_exactly_once(tmp_path: Path) -> None:
    dataset = click_dataset(tmp_path)
    for epoch in range(3):
        targets = whole_epoch(dataset, epoch).targets
        assert (targets.onset == 1.0).sum() == len(CLICK_TIMES) + 1
        # Only frames of the recordings count: none before their beginning or after their end.
        n_frames = sum(dataset.store.n_frames(name) for name in dataset.plan.recordings)
        assert targets.onset_mask.sum() == N_LANES * n_frames


def test_silence_beyond_the_ends_does_not_count(tmp_path: Path) -> None:
    dataset = click_dataset(tmp_path)
    place = next(p for p, e in enumerate(dataset.plan.epoch(0)) if e.recording == "short")
    start = dataset.plan.epoch(0)[place].start
    batch = dataset.batch([ExcerptKey(0, place)])
    frames, mask = batch.frames[0].numpy(), batch.targets.onset_mask[0].numpy()
    assert start < 0
    beyond = np.ones(EXCERPT_FRAMES, np.bool_)
    beyond[-start : -start + dataset.store.n_frames("short")] = False
    assert beyond.any()
    np.testing.assert_array_equal(mask == 0.0, np.repeat(beyond[:, None], N_LANES, axis=1))
    assert (frames[:EXCERPT_FRAMES][beyond] == 0).all()
    np.testing.assert_array_equal(frames[:EXCERPT_FRAMES][~beyond], dataset.store.read_steps("short"))
    assert batch.targets.velocity_mask.sum() == 3  # the onset and one frame on either side


def test_masked_frames_do_not_count_for_loss(tmp_path: Path) -> None:
    dataset = click_dataset(tmp_path, frame_masks={"max_count": 3, "max_width": 30})
    batch = whole_epoch(dataset, 0)
    keep = batch.draws.keep_frames.numpy()
    for place, excerpt in enumerate(dataset.plan.epoch(0)):
        source = excerpt.start + np.arange(EXCERPT_FRAMES)
        inside = (source >= 0) & (source < dataset.store.n_frames(excerpt.recording))
        np.testing.assert_array_equal(batch.targets.onset_mask[place, :, 0] == 1.0, inside & keep[place])
        assert (batch.targets.velocity_mask[place].numpy()[~keep[place]] == 0.0).all()
    assert not keep.all()


def test_excerpt_that_only_keeps_a_rank_busy_counts_nowhere(tmp_path: Path) -> None:
    dataset = click_dataset(tmp_path)
    batch = dataset.batch([ExcerptKey(0, 0, False)])
    assert batch.targets.counts().tolist() == [0.0, 0.0]
    assert torch.equal(batch.frames, dataset.batch([ExcerptKey(0, 0)]).frames)


def test_what_happens_to_an_excerpt_follows_from_seed_epoch_and_place(tmp_path: Path) -> None:
    """Neither what was read before nor what else is in the batch changes it."""
    effects: dict[str, Any] = {"time_stretch": {}, "noise": {}}
    one, two = click_dataset(tmp_path / "1", **effects), click_dataset(tmp_path / "2", **effects)
    alone, among = one.batch([ExcerptKey(2, 3)]), two.batch([ExcerptKey(2, 1), ExcerptKey(2, 3)])
    assert torch.equal(one.augmenter.noise_db(alone.draws)[0], two.augmenter.noise_db(among.draws)[1])
    for name in ("stretch", "noise_db", "noise_key"):
        assert getattr(alone.draws, name)[0] == getattr(among.draws, name)[1]
    assert torch.equal(alone.frames[0], among.frames[1])
    assert torch.equal(alone.targets.onset[0], among.targets.onset[1])
    others = set(one.batch([ExcerptKey(2, 3), ExcerptKey(2, 2), ExcerptKey(3, 3)]).draws.stretch.tolist())
    others.update(click_dataset(tmp_path / "3", seed=1, **effects).batch([ExcerptKey(2, 3)]).draws.stretch.tolist())
    assert len(others) == 4


def test_batch_keeps_the_order_of_its_keys(tmp_path: Path) -> None:
    dataset = click_dataset(tmp_path, gain={})
    batch = dataset.batch([ExcerptKey(0, place) for place in (2, 0, 1)])
    assert batch.frames.dtype == torch.uint8
    assert batch.frames.shape == (3, dataset.augmenter.n_source_frames, small_features().n_mels)
    for number, place in enumerate((2, 0, 1)):
        alone = dataset.batch([ExcerptKey(0, place)])
        assert torch.equal(batch.frames[number], alone.frames[0])
        assert batch.draws.gain_db[number] == alone.draws.gain_db[0]
        assert torch.equal(batch.targets.velocity[number], alone.targets.velocity[0])
    copy = batch.to(torch.device("cpu"))
    assert torch.equal(copy.targets.onset_mask, batch.targets.onset_mask)


def test_recording_without_labels_is_an_error_for_people(tmp_path: Path) -> None:
    dataset = click_dataset(tmp_path)
    dataset.labels = make_labels({"other": onsets((0.1, 0))})
    with pytest.raises(DrumCrnnError, match="no labels for the recording"):
        dataset.batch([ExcerptKey(0, 0)])
