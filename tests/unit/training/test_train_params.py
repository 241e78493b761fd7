from typing import Any

import pytest
import torch
from builders import train_params
from hypothesis import given
from hypothesis import strategies as st

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.training.train_params import learning_rate_at, n_reductions


def test_cosine_rises_then_falls_to_its_final_value() -> None:
    params = train_params(learning_rate=0.1, warmup_steps=10, final_learning_rate=0.001)
    rates = [learning_rate_at(step, 100, params) for step in range(101)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[10] == rates[9] == pytest.approx(0.1)
    assert rates[55] == pytest.approx(0.0505)  # half-way between the highest and the final one
    assert rates[100] == pytest.approx(0.001)
    assert rates[10:] == sorted(rates[10:], reverse=True)


@given(scores=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), max_size=30), patience=st.integers(0, 4))
def test_plateaus_are_those_of_torch(scores: list[float], patience: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=patience, threshold=0.0, threshold_mode="abs", eps=0.0
    )
    for score in scores:
        oracle.step(score)
    assert 0.5 ** n_reductions(scores, patience=patience) == optimizer.param_groups[0]["lr"]


def test_plateau_keeps_the_rate_until_scores_stop_rising_and_has_a_floor() -> None:
    params = train_params(
        schedule="plateau",
        learning_rate=0.1,
        warmup_steps=4,
        final_learning_rate=0.03,
        plateau_patience=1,
        plateau_factor=0.5,
    )
    assert learning_rate_at(1, 100, params) == pytest.approx(0.05)
    for scores, rate in (([], 0.1), ([0.1, 0.2, 0.3], 0.1), ([0.3, 0.2, 0.2], 0.05), ([0.3] * 12, 0.03)):
        assert learning_rate_at(50, 100, params, scores) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"processes": 0}, r"train: processes must be 'auto' or at least 1"),
        ({"rank_shares": [1, 0]}, r"train: rank_shares must be 'equal', 'auto', or one positive number per rank"),
        ({"target_widening": [0.5]}, r"target_widening must begin with 1\.0"),
        ({"precision": "int8"}, r"train\.precision"),
        ({"ema_decay": 1.0}, r"train\.ema_decay"),
        ({"learning_rate": "1e-3"}, r"train\.learning_rate: '1e-3' is text; write 0\.001 without quotation marks"),
    ],
)
def test_impossible_parameters_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DrumCrnnError, match=message):
        train_params(**changes)
