"""The size of a model and the settings that are stored with its weights."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from drum_crnn.foundation.params import ParamsSection

__all__ = ["ModelParams"]


class ModelParams(ParamsSection):
    """Section `model`: the settings that are stored with the weights, because inference needs them."""

    section: ClassVar[str] = "model"

    conv_channels: tuple[int, int, int]
    normalisation: Literal["rms", "layer"]
    projection: int = Field(gt=0)
    gru_layers: int = Field(gt=0)
    gru_units: int = Field(gt=0)
    dropout: float = Field(ge=0, lt=1)
    input_mean_db: float
    input_scale_db: float = Field(gt=0)
    window_frames: int = Field(gt=0)
    margin_frames: int = Field(ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if 2 * self.margin_frames >= self.window_frames:
            raise ValueError("window_frames must exceed twice margin_frames, or a window has no inner part")
        if min(self.conv_channels) < 1:
            raise ValueError("conv_channels must be positive")
        return self
