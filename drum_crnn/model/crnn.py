"""The CRNN: convolutions that pool frequency but never time, a bidirectional GRU, two outputs per lane and frame."""

import itertools

import torch
import torch.nn.functional as F  # noqa: N812  # the name everybody knows it by
from torch import Tensor, nn

from drum_crnn.model.gru import BidirectionalGru
from drum_crnn.model.model_params import ModelParams
from drum_crnn.music.lanes import N_LANES

__all__ = ["ChannelDropout", "DrumCrnn"]


class ChannelRms(nn.Module):
    """Divides each time–frequency point by the root mean square over its channels, then scales each channel.

    The statistics belong to one point. So they depend neither on the batch (a rank's share, micro-batches) nor on the
    length and padding of a window.

    References
    ----------
    Zhang & Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(n_channels))

    def forward(self, x: Tensor) -> Tensor:  # (batch, channels, frames, bands)
        # In float32 at least: squares overflow float16, and bfloat16 sums lose the small channels.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean_square = wide.square().mean(dim=1, keepdim=True)
        return x * (torch.rsqrt(mean_square + 1e-5) * self.scale[:, None, None]).to(x.dtype)


class ChannelLayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each time–frequency point: as local as `ChannelRms`.

    In channels-last memory, the forward pass and the backward pass each go through the data once.

    References
    ----------
    Ba, Kiros & Hinton, "Layer Normalization", 2016.
    """

    def forward(self, x: Tensor) -> Tensor:  # (batch, channels, frames, bands)
        wide = x.permute(0, 2, 3, 1)
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        # On a GPU, autocast would turn everything after it into float32. Its sums are float32 in any case.
        with torch.autocast(x.device.type, enabled=False):
            return F.layer_norm(wide, self.normalized_shape, weight, bias, self.eps).permute(0, 3, 1, 2)


class ChannelDropout(nn.Module):
    """`torch.nn.Dropout2d`, but in channels-last memory it multiplies whole rows at a time.

    A row is one frame with all its bands and channels. PyTorch multiplies only the few channels of one band at a time.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:  # (batch, channels, frames, bands)
        if not x.is_contiguous(memory_format=torch.channels_last):
            return F.dropout2d(x, self.p, self.training)
        if not self.training:
            return x
        n_batch, n_channels, _, n_bands = x.shape
        kept = F.dropout(x.new_ones(n_batch, 1, 1, n_channels), self.p)
        rows = x.permute(0, 2, 3, 1).flatten(2)  # (batch, frames, bands · channels)
        rows = rows * kept.expand(-1, -1, n_bands, -1).flatten(2)
        result: Tensor = rows.unflatten(2, (n_bands, n_channels)).permute(0, 3, 1, 2)
        return result


_NORMALISATIONS: dict[str, type[nn.Module]] = {"rms": ChannelRms, "layer": ChannelLayerNorm}


class ConvBlock(nn.Module):
    """3×3 convolution that halves the bands, normalisation, ReLU, dropout of whole channels."""

    def __init__(self, n_in: int, n_out: int, *, normalisation: str, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel_size=3, stride=(1, 2), padding=1, bias=False)
        self.norm = _NORMALISATIONS[normalisation](n_out)
        self.dropout = ChannelDropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        dropped: Tensor = self.dropout(torch.relu(self.norm(self.conv(x))))
        return dropped


class DrumCrnn(nn.Module):
    """Predicts onset and velocity logits from log-mel frames.

    Parameters
    ----------
    params : ModelParams
    n_mels : int
        Mel bands per frame.
    """

    def __init__(self, params: ModelParams, *, n_mels: int) -> None:
        super().__init__()
        self.params = params
        self.n_mels = n_mels
        n_channels = (2, *params.conv_channels)  # the level, and its difference from the previous frame
        self.blocks = nn.Sequential(
            *(
                ConvBlock(a, b, normalisation=params.normalisation, dropout=params.dropout)
                for a, b in itertools.pairwise(n_channels)
            )
        )
        n_bands = n_mels
        for _ in params.conv_channels:
            n_bands = (n_bands + 1) // 2
        self.project = nn.Linear(n_channels[-1] * n_bands, params.projection)
        self.gru = BidirectionalGru(
            params.projection, params.gru_units, n_layers=params.gru_layers, dropout=params.dropout
        )
        self.dropout = nn.Dropout(params.dropout)
        self.head = nn.Linear(2 * params.gru_units, 2 * N_LANES)
        with torch.no_grad():
            # Onsets are rare. Without this bias, the first hundred steps would only learn how rare.
            self.head.bias[:N_LANES].fill_(-4.0)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the logits of every frame.

        Parameters
        ----------
        frames : float tensor, shape (batch, frames, n_mels)
            Decibels, as `log_mel.LogMel` computes them.

        Returns
        -------
        onset_logits, velocity_logits : tensors of the dtype of `frames`, shape (batch, frames, lanes)
            A sigmoid turns the first into an activation, and the second into a velocity as a fraction of 127.
        """
        x = (frames - self.params.input_mean_db) / self.params.input_scale_db
        difference = torch.diff(x, dim=1, prepend=x[:, :1])
        x = torch.stack([x, difference], dim=1)  # (batch, channels, frames, bands)
        if self.params.normalisation == "layer":
            x = x.contiguous(memory_format=torch.channels_last)  # the convolutions keep this format
        x = self.blocks(x)
        x = torch.relu(self.project(x.permute(0, 2, 1, 3).flatten(2)))  # (batch, frames, projection)
        x, _ = self.gru(x)
        logits = self.head(self.dropout(x)).to(frames.dtype)
        return logits[..., :N_LANES], logits[..., N_LANES:]

    def n_parameters(self) -> int:
        """Number of trainable weights."""
        return sum(parameter.numel() for parameter in self.parameters())
