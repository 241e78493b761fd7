"""The names of the formats, and how their files are called. It imports nothing, since `--help` shows them."""

__all__ = ["CHART", "EXTRAS", "FORMATS", "FORMAT_OF_SUFFIX", "WITHOUT_BARS"]

CHART = "chart"  # a folder; the others are files

# The suffix of each format's files; that of a chart's folder comes after the recording's name.
FORMATS = {
    "midi": ".mid",
    "csv": ".csv",
    "json": ".json",
    "jams": ".jams",
    "tab": ".tab",
    CHART: " (chart)",
}

# What options of their own name write beside the formats, and the suffixes.
EXTRAS = {"plot": ".png", "sonify": ".wav"}

# They hold onsets alone, so that they need no tempo.
WITHOUT_BARS = ("csv", "sonify")

# What the suffix of an output says about its format.
FORMAT_OF_SUFFIX = {suffix: name for name, suffix in FORMATS.items() if name != CHART} | {
    ".midi": "midi",
    ".txt": "tab",
}
