"""Tests that need the library FluidSynth; CI installs it."""

import pytest

from drum_crnn.band.synthesizer import has_fluidsynth

needs_fluidsynth = pytest.mark.skipif(not has_fluidsynth(), reason="FluidSynth is not installed")
