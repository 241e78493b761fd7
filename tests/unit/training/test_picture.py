import numpy as np

from drum_crnn.music.lanes import N_LANES
from drum_crnn.music.onsets import Onsets
from drum_crnn.training.picture import prediction_picture


def red(picture: np.ndarray) -> np.ndarray:
    return (picture == np.array([200, 60, 40])).all(axis=2)


def test_onsets_and_activations_are_where_they_belong() -> None:
    activation = np.zeros((100, N_LANES), np.float32)
    activation[30, 2] = 1.0
    reference = Onsets(np.array([0.3, 0.9, 5.0]), np.array([2, 7, 0]), np.array([100, 100, 100]))
    picture = prediction_picture(activation, reference, frame_rate=100.0, title="test", frame_width=1)
    assert picture.dtype == np.uint8
    width = picture.shape[1] - 100  # of the names of the lanes
    columns = np.flatnonzero(red(picture).any(axis=0)) - width
    # An onset is marked from its frame on; the one after the end of the excerpt is left out.
    assert columns.tolist() == [30, 90]
    rows_of_hihat = np.flatnonzero(red(picture)[:, width + 30])
    loudest = (picture == np.array([20, 60, 140])).all(axis=2)
    assert np.flatnonzero(loudest.any(axis=0)).tolist() == [width + 30]
    # The activation lies right below the onset of the same lane.
    assert np.flatnonzero(loudest.any(axis=1))[0] == rows_of_hihat[-1] + 1


def test_the_same_content_gives_the_same_picture() -> None:
    activation = np.random.default_rng(0).random((50, N_LANES), dtype=np.float32)
    nothing = Onsets(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
    one, other = (prediction_picture(activation, nothing, frame_rate=100.0, title="x") for _ in range(2))
    np.testing.assert_array_equal(one, other)
