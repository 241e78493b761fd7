"""A reader of `.chart` files, written from the format's documentation: TheNathannator/GuitarGame_ChartFormats.

It knows nothing of the writer: it parses sections and events, and tells the time of a tick by the tempos alone.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass, field

COLOURS = {0: "kick", 1: "red", 2: "yellow", 3: "blue", 4: "green", 32: "optional kick"}


@dataclass
class Strokes:
    """The gems of one tick by colour, and what modifies them."""

    time_s: float
    gems: set[str] = field(default_factory=set)
    cymbals: set[str] = field(default_factory=set)
    accents: set[str] = field(default_factory=set)
    ghosts: set[str] = field(default_factory=set)


class Chart:
    """A parsed chart. `tracks` has, for each section of an instrument, its strokes by tick."""

    def __init__(self, text: str) -> None:
        self.sections: dict[str, list[tuple[str, str]]] = {}
        lines = iter(text.split("\n"))
        for line in lines:
            if not line:
                continue
            header = re.fullmatch(r"\[(\w+)\]", line)
            assert header, f"no section: {line!r}"
            assert header[1] not in self.sections, "a section is there twice"
            assert next(lines) == "{"
            entries = []
            while (entry := next(lines)) != "}":
                key, equals, value = entry.strip().partition(" = ")
                assert equals, f"no key and value: {entry!r}"
                entries.append((key, value))
            self.sections[header[1]] = entries
        self.song = dict(self.sections["Song"])
        assert len(self.song) == len(self.sections["Song"]), "keys are not unique"
        for value in self.song.values():
            assert re.fullmatch(r'"[^"\n]*"|-?[\d.]+', value), value
        self.resolution = int(self.song["Resolution"])
        self._read_sync()
        self.tracks = {
            name: self._strokes(entries)
            for name, entries in self.sections.items()
            if name not in ("Song", "SyncTrack", "Events")
        }

    def _read_sync(self) -> None:
        self.tempos: list[tuple[int, float]] = []
        self.signatures: list[tuple[int, int, int]] = []
        self._check_order(self.sections["SyncTrack"])
        for tick, value in self.sections["SyncTrack"]:
            kind, *numbers = value.split()
            if kind == "B":
                self.tempos.append((int(tick), int(numbers[0]) / 1000))
            elif kind == "TS":
                self.signatures.append((int(tick), int(numbers[0]), 2 ** int(numbers[1] if len(numbers) > 1 else 2)))
        assert self.tempos[0][0] == self.signatures[0][0] == 0
        self._elapsed = [0.0]
        for (tick, bpm), (after, _) in zip(self.tempos, self.tempos[1:], strict=False):
            self._elapsed.append(self._elapsed[-1] + (after - tick) / self.resolution * 60 / bpm)

    @staticmethod
    def _check_order(entries: list[tuple[str, str]]) -> None:
        ticks = [int(tick) for tick, _ in entries]
        assert ticks == sorted(ticks), "events are out of order, which some games refuse"
        assert all(tick >= 0 for tick in ticks)

    def seconds(self, tick: int) -> float:
        last = bisect_right(self.tempos, tick, key=lambda tempo: tempo[0]) - 1
        since, bpm = self.tempos[last]
        return self._elapsed[last] + (tick - since) / self.resolution * 60 / bpm

    def _strokes(self, entries: list[tuple[str, str]]) -> dict[int, Strokes]:
        self._check_order(entries)
        assert len(set(entries)) == len(entries), "an event is there twice"
        found: dict[int, Strokes] = {}
        for tick, value in entries:
            kind, number, length = value.split()
            assert (kind, length) == ("N", "0")
            strokes = found.setdefault(int(tick), Strokes(self.seconds(int(tick))))
            if int(number) in COLOURS:
                strokes.gems.add(COLOURS[int(number)])
            elif 34 <= int(number) <= 37:
                strokes.accents.add(COLOURS[int(number) - 33])
            elif 40 <= int(number) <= 43:
                strokes.ghosts.add(COLOURS[int(number) - 39])
            elif 66 <= int(number) <= 68:
                strokes.cymbals.add(COLOURS[int(number) - 64])
            else:
                raise AssertionError(f"{number} is no note of drums")
        for strokes in found.values():
            assert strokes.cymbals | strokes.accents | strokes.ghosts <= strokes.gems, "a modifier modifies nothing"
            assert not strokes.accents & strokes.ghosts
        return found
