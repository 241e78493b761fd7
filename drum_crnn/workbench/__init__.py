"""Tools for whoever experiments: presets, search, verification of files."""
