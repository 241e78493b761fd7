"""The words of the field: lanes, onsets, time, MIDI, audio, log-mel frames."""
