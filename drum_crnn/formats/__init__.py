"""Formats: from a transcription to the files that other programs read."""
