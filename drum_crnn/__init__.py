"""drum_crnn: from recordings of drums to MIDI, in eight lanes."""
