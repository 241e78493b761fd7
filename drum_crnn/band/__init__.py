"""The band: an accompaniment that is composed to a drum performance, and its synthesizer."""
