"""Weights add up, and hold what the params say: of performances, of kits, and of styles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drum_crnn.training.balance import BalanceParams, draw_weights
from drum_crnn.training.dataset import ExcerptPlan

NEUTRAL = BalanceParams(long_s=30.0, duration=1.0, kits=False, rarest_style=0.0)
DEFAULT = BalanceParams(long_s=30.0, duration=0.5, kits=True, rarest_style=0.1)


class Corpus:
    """Every performance on every kit, as E-GMD is, or each on some of them."""

    def __init__(self, seed: int = 0, *, n_performances: int = 60, n_kits: int = 7, share: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        lengths = np.exp(rng.normal(8.0, 1.5, n_performances)).astype(np.int64) + 1
        styles = rng.choice(
            ["rock/a", "rock/b", "funk", "latin/x", "gospel"], n_performances, p=[0.4, 0.4, 0.1, 0.09, 0.01]
        )
        rows = [(p, k) for p in range(n_performances) for k in range(n_kits) if k == p % n_kits or rng.random() < share]
        self.performances = [f"p{p}" for p, _ in rows]
        self.kits = [f"k{k}" for _, k in rows]
        self.styles = [str(styles[p]) for p, _ in rows]
        self.n_frames = np.array([lengths[p] for p, _ in rows])

    def weights(self, params: BalanceParams) -> np.ndarray:
        return draw_weights(self.n_frames / 100.0, self.performances, self.kits, self.styles, params)

    def totals(self, weights: np.ndarray, names: list[str]) -> dict[str, float]:
        return {name: float(weights[np.array(names) == name].sum()) for name in set(names)}


@given(seed=st.integers(0, 20), share=st.sampled_from([0.2, 1.0]))
@settings(deadline=None, max_examples=20)
def test_neutral_weights_are_the_lengths(seed: int, share: float) -> None:
    corpus = Corpus(seed, share=share)
    np.testing.assert_allclose(corpus.weights(NEUTRAL), corpus.n_frames / corpus.n_frames.sum())


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_long_performances_are_drawn_by_a_power_of_their_duration(exponent: float) -> None:
    corpus = Corpus()
    weights = corpus.weights(BalanceParams(long_s=30.0, duration=exponent, kits=True, rarest_style=0.0))
    totals = corpus.totals(weights, corpus.performances)
    length_s = {name: n / 100.0 for name, n in zip(corpus.performances, corpus.n_frames, strict=True)}
    assert min(length_s.values()) < 30.0 < max(length_s.values())
    expected = {name: s if s <= 30.0 else 30.0 * (s / 30.0) ** exponent for name, s in length_s.items()}
    scale = sum(expected.values())
    for name, total in totals.items():
        assert total == pytest.approx(expected[name] / scale)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_kits_are_drawn_equally_often(share: float) -> None:
    corpus = Corpus(share=share)
    totals = corpus.totals(corpus.weights(DEFAULT), corpus.kits)
    assert max(totals.values()) / min(totals.values()) < (1.0001 if share == 1.0 else 1.1)
    unbalanced = corpus.totals(corpus.weights(NEUTRAL), corpus.kits)
    assert share == 1.0 or max(unbalanced.values()) / min(unbalanced.values()) > 1.5


@given(seed=st.integers(0, 50), rarest=st.floats(0.0, 1.0))
@settings(deadline=None, max_examples=40)
def test_no_style_is_rarer_than_allowed(seed: int, rarest: float) -> None:
    corpus = Corpus(seed)
    styles = [style.split("/")[0] for style in corpus.styles]
    params = BalanceParams(long_s=30.0, duration=0.5, kits=True, rarest_style=rarest)
    before = corpus.totals(
        corpus.weights(BalanceParams(long_s=30.0, duration=0.5, kits=True, rarest_style=0.0)), styles
    )
    totals = corpus.totals(corpus.weights(params), styles)
    least = rarest / len(totals)
    assert min(totals.values()) >= least - 1e-9
    for style, total in totals.items():  # the rare ones get what they need, and no more
        assert total <= max(before[style], least) + 1e-9


@given(seed=st.integers(0, 20), per_epoch=st.integers(1, 3000), epoch=st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_an_epoch_has_each_recording_as_often_as_its_weight_says(seed: int, per_epoch: int, epoch: int) -> None:
    corpus = Corpus(seed, n_performances=12, n_kits=3)
    weights = corpus.weights(DEFAULT)
    names = tuple(map(str, range(len(weights))))
    plan = ExcerptPlan(names, corpus.n_frames, 300, 0, per_epoch, weights)
    drawn = plan.epoch(epoch)
    assert len(drawn) == plan.n_excerpts()
    counts = np.bincount(drawn.index, minlength=len(names))
    assert (abs(counts - weights * len(drawn)) < 1.0 + 1e-6).all()
    assert (drawn.start < corpus.n_frames[drawn.index]).all()
    assert (drawn.start > -300).all()


def test_excerpts_of_a_recording_are_spread_over_it_and_repeat_none() -> None:
    plan = ExcerptPlan(("long", "short"), np.array([30_000, 450]), 300, 0, 60, np.array([0.5, 0.5]))
    drawn = plan.epoch(0)
    long = np.sort(drawn.start[drawn.index == 0])
    assert len(long) == 30
    assert set(np.diff(long)) <= {900, 1200}  # of 100 cuts, every third or fourth
    short = np.sort(drawn.start[drawn.index == 1])
    assert len(short) == 30
    assert len(set(short.tolist())) > 20  # cut fifteen times, from other starts


def test_over_many_epochs_counts_are_those_of_the_weights() -> None:
    weights = np.array([0.013, 0.55, 0.437])
    plan = ExcerptPlan(("a", "b", "c"), np.array([900, 9000, 5000]), 300, 0, 10, weights)
    counts = sum(np.bincount(plan.epoch(epoch).index, minlength=3) for epoch in range(400))
    np.testing.assert_allclose(counts / 4000, weights, atol=0.004)
