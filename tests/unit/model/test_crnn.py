"""The CRNN: shapes, sizes, and which frames and items influence each other."""

import pytest
import torch
from builders import section, small_model, untrained
from torch import Tensor, nn

from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.model.crnn import ChannelDropout, ChannelLayerNorm, ChannelRms, ConvBlock, DrumCrnn
from drum_crnn.model.model_params import ModelParams
from drum_crnn.music.lanes import N_LANES

BASE = {"conv_channels": [48, 64, 96], "projection": 256, "gru_layers": 3, "gru_units": 192, "dropout": 0.2}


def frames(n_items: int, n_frames: int, *, n_mels: int = 20, seed: int = 0) -> Tensor:
    return torch.rand((n_items, n_frames, n_mels), generator=torch.Generator().manual_seed(seed)) * 90.0 - 90.0


@pytest.mark.parametrize("n_frames", [1, 2, 77])
@pytest.mark.parametrize("n_mels", [1, 20, 21, 84])
def test_one_pair_of_outputs_per_lane_and_frame(n_frames: int, n_mels: int) -> None:
    """Time is never pooled, whatever the number of bands."""
    outputs = untrained(n_mels=n_mels)(frames(3, n_frames, n_mels=n_mels))
    assert [tuple(output.shape) for output in outputs] == [(3, n_frames, N_LANES)] * 2
    assert all(output.dtype == torch.float32 and output.isfinite().all() for output in outputs)


def test_sizes_of_the_models() -> None:
    small = DrumCrnn(section(ModelParams), n_mels=84)
    base = DrumCrnn(section(ModelParams, **BASE), n_mels=84)
    assert small.n_parameters() < 500_000
    assert 1_000_000 < base.n_parameters() < 5_000_000
    assert base.n_parameters() == sum(tensor.numel() for tensor in base.state_dict().values())
    outputs = base(frames(1, 5, n_mels=84))
    assert outputs[0].shape == (1, 5, N_LANES)


def test_items_of_a_batch_do_not_influence_each_other() -> None:
    """Not even in training: nothing is normalised over the batch, so shares and micro-batches change nothing."""
    model = untrained(small_model(dropout=0.0)).train()
    batch = frames(4, 50)
    together = model(batch)
    for place in range(4):
        for output, alone in zip(together, model(batch[place : place + 1]), strict=True):
            torch.testing.assert_close(output[place], alone[0], atol=1e-5, rtol=1e-5)


def test_convolutions_see_a_few_frames_and_nothing_is_averaged_over_time() -> None:
    model = untrained()
    plain = frames(1, 60)
    changed = plain.clone()
    changed[:, 40:] = -90.0
    stack = [torch.stack([x, torch.diff(x, dim=1, prepend=x[:, :1])], dim=1) for x in (plain, changed)]
    with torch.no_grad():
        one, other = (model.blocks(x) for x in stack)
    torch.testing.assert_close(one[:, :, :37], other[:, :, :37], atol=0.0, rtol=0.0)
    assert not torch.equal(one[:, :, 37], other[:, :, 37])


def test_outputs_see_both_past_and_future() -> None:
    model = untrained()
    plain = frames(1, 13)
    base = model(plain)[0]
    for place, affected in ((0, 12), (12, 0)):  # further than the convolutions see
        changed = plain.clone()
        changed[0, place] = 0.0
        assert not torch.equal(model(changed)[0][0, affected], base[0, affected])


def test_rms_norm_is_computed_within_each_point() -> None:
    norm = ChannelRms(5)
    nn.init.uniform_(norm.scale, 0.5, 2.0)
    x = torch.randn((2, 5, 7, 3), generator=torch.Generator().manual_seed(0))
    y = norm(x)
    for b, f, band in [(0, 0, 0), (1, 6, 2), (0, 3, 1)]:
        point = x[b, :, f, band]
        torch.testing.assert_close(y[b, :, f, band], point / (point.square().mean() + 1e-5).sqrt() * norm.scale)


def test_rms_norm_survives_half_precision() -> None:
    large = torch.full((1, 4, 2, 2), 300.0, dtype=torch.float16)  # squares overflow
    normalised = ChannelRms(4)(large)
    assert normalised.dtype == torch.float16
    torch.testing.assert_close(normalised, torch.ones_like(large))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_layer_norm_acts_on_the_channels_of_each_point(memory_format: torch.memory_format) -> None:
    x = (10.0 * torch.randn((2, 8, 7, 3))).contiguous(memory_format=memory_format)
    norm = ChannelLayerNorm(8)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 9.0))
    y = norm(x)
    assert y.shape == x.shape
    for b, f, band in [(0, 0, 0), (1, 6, 2), (0, 3, 1)]:
        point = x[b, :, f, band]
        expected = (point - point.mean()) / (point.var(unbiased=False) + norm.eps).sqrt() * norm.weight
        torch.testing.assert_close(y[b, :, f, band], expected)


def test_blocks_keep_channels_last_memory() -> None:
    """Otherwise layer normalisation would copy everything twice."""
    seen = []
    model = untrained(small_model(normalisation="layer"))
    for block in model.blocks:
        block.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(frames(2, 30))
    assert len(seen) == 3
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)


@pytest.mark.parametrize("normalisation", ["rms", "layer"])
@pytest.mark.parametrize(("n_bands", "halved"), [(84, 42), (21, 11), (1, 1)])
def test_a_block_halves_the_bands_and_keeps_the_frames(n_bands: int, halved: int, normalisation: str) -> None:
    assert ConvBlock(2, 6, normalisation=normalisation, dropout=0.0)(torch.zeros((1, 2, 9, n_bands))).shape == (
        1,
        6,
        9,
        halved,
    )


def test_autocast_is_close_to_full_precision() -> None:
    model, x = untrained(), frames(2, 50)
    with torch.inference_mode():
        exact = model(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = model(x)
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == torch.float32
        torch.testing.assert_close(one.sigmoid(), other.sigmoid(), atol=0.02, rtol=0.0)


def test_evaluation_is_deterministic_and_training_drops() -> None:
    model, x = untrained(small_model(dropout=0.5)), frames(1, 30)
    assert torch.equal(model(x)[0], model(x)[0])
    model.train()
    assert not torch.equal(model(x)[0], model(x)[0])


def test_an_untrained_model_expects_few_onsets() -> None:
    onset, _ = untrained(section(ModelParams), n_mels=84)(frames(1, 200, n_mels=84))
    assert 0.005 < onset.sigmoid().mean() < 0.05


def test_every_weight_gets_a_gradient() -> None:
    model = untrained(small_model(dropout=0.0)).train()
    onset, velocity = model(frames(2, 30))
    (onset.square().sum() + velocity.square().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"margin_frames": 30}, "window_frames must exceed twice margin_frames"),
        ({"conv_channels": [8, 0, 8]}, "conv_channels must be positive"),
        ({"conv_channels": [8, 8]}, r"model\.conv_channels"),
        ({"dropout": 1.0}, r"model\.dropout"),
    ],
)
def test_impossible_parameters_are_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(DrumCrnnError, match=words):
        small_model(**changes)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("is_training", [True, False])
def test_channel_dropout_is_that_of_torch(memory_format: torch.memory_format, is_training: bool) -> None:
    x = torch.randn(3, 5, 7, 4).contiguous(memory_format=memory_format)
    found = []
    for dropout in (ChannelDropout(0.4), torch.nn.Dropout2d(0.4)):
        torch.manual_seed(5)
        of_input = x.clone().requires_grad_()
        y = dropout.train(is_training)(of_input)
        y.square().sum().backward()
        assert y.is_contiguous(memory_format=memory_format)
        found.append([y, of_input.grad])
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert bool((found[0][0] == 0).any()) == is_training
