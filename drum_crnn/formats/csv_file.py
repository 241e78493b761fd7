"""CSV: one line for each onset, for spreadsheets and scripts."""

import csv
import io

from drum_crnn.music.transcription import Transcription

__all__ = ["COLUMNS", "csv_text"]

COLUMNS = ("time_s", "lane", "velocity", "confidence")


def csv_text(transcription: Transcription) -> str:
    """A header and a line for each onset: seconds to the microsecond, lane, velocity 1 to 127, confidence 0 to 1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for time_s, lane, velocity, confidence in transcription.rows():
        writer.writerow([f"{time_s:.6f}", lane, velocity, f"{confidence:.4f}"])
    return text.getvalue()
