"""A transcription: frozen, checked, and filtered."""

import dataclasses

import numpy as np
import pytest

from drum_crnn.music.transcription import Transcription


def four(**changes: object) -> Transcription:
    values = {
        "time_s": np.array([0.2, 0.7, 0.7, 1.2]),
        "lane": np.array([0, 1, 6, 0]),
        "velocity": np.array([100, 80, 30, 90]),
        "confidence": np.array([0.9, 0.8, 0.5, 1.0]),
        "duration_s": 2.2,
    }
    return Transcription(**{**values, **changes})


def test_nothing_of_it_can_be_changed() -> None:
    times = np.array([0.2, 0.7, 0.7, 1.2])
    found = four(time_s=times, activation=np.zeros((5, 8), np.float32))
    times[0] = 0.1
    assert found.time_s[0] == 0.2
    for array in (found.time_s, found.lane, found.velocity, found.confidence, found.activation):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.duration_s = 1.0  # type: ignore[misc]


def test_filters_keep_the_columns_together() -> None:
    kicks = four().of_lane(0)
    assert (kicks.time_s.tolist(), kicks.velocity.tolist(), kicks.confidence.tolist()) == (
        [0.2, 1.2],
        [100, 90],
        [0.9, 1],
    )
    assert four().louder_than(80).velocity.tolist() == [100, 80, 90]
    assert len(four().louder_than(127)) == 0
    assert four().counts() == dict.fromkeys(("snare", "crash"), 1) | {"kick": 2} | dict.fromkeys(
        ("hihat", "high_tom", "mid_tom", "low_tom", "ride"), 0
    )
    assert four().onsets.time_s.tolist() == four().time_s.tolist()


def test_no_onsets_are_a_transcription() -> None:
    assert len(Transcription([], [], [], [], duration_s=0.0)) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confidence": np.array([0.9, 0.8, 0.5])}, "4 onsets, but confidences of shape"),
        ({"confidence": np.array([0.9, 0.8, 0.5, 1.1])}, r"confidences should lie in \[0, 1\]"),
        ({"confidence": np.array([0.9, 0.8, 0.5, np.nan])}, r"confidences should lie in \[0, 1\]"),
        ({"velocity": np.array([100, 80, 0, 90])}, "velocities should lie in 1..127"),
        ({"time_s": np.array([0.7, 0.2, 0.7, 1.2])}, "not in order"),
        ({"lane": np.array([0, 1, 8, 0])}, "lane should lie in 0..7"),
        ({"duration_s": float("nan")}, "the duration is nan"),
    ],
)
def test_what_is_no_transcription_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        four(**changes)
