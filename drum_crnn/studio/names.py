"""Names of drums: from the name of an instrument, sample or file to the drum that it means."""

import re
from collections.abc import Iterable

from drum_crnn.music.lanes import LANE_OF_NOTE, LANES

__all__ = ["OTHER", "NOTES_OF_DRUM", "assign_notes", "drum_of_name", "is_attack_noise", "is_percussion", "may_be_lane"]

# A named thing that belongs to no lane: other percussion, effects, and strokes without one clear onset.
OTHER = "other"

# Drum -> its possible notes, best first; further instruments of the same drum get the next free one.
NOTES_OF_DRUM: dict[str, tuple[int, ...]] = {
    "kick": (36, 35),
    "snare": (38, 40),
    "rimshot": (40,),
    "cross_stick": (37,),
    "stick": (37,),
    "hat_closed": (42, 22),
    "hat_pedal": (44,),
    "hat_half_open": (26,),
    "hat_open": (46, 26),
    "tom_high": (50, 48),
    "tom_mid": (47, 45),
    "tom_low": (43, 41, 58),
    "tom_floor": (41, 43, 58),
    "crash": (49, 57),
    "splash": (55,),
    "china": (52,),
    "cymbal": (49, 57),
    "ride": (51, 59),
    "ride_bell": (53,),
}

_OTHER = """
    agogo anvil applause bongo bongos cabasa cajon carillon castanet castanets choke choked clap claps clave
    claves conga congas cowbell cuica djembe dununba finger fingersnap fingersnaps flam fx glass guiro handclap
    jingle kalimba kenkeni maraca maracas metronome noise ocean quica quinto reverse roll sangban scratch shaker
    sleigh snap snaps sweep swirl swish taiko tamb tamborine tambourine timbale timbales timp timpani triangle
    tumba vibra vibraslap waterglass whistle wood woodblock zap
"""
_OTHER_WORDS = frozenset(_OTHER.split())
_LANE_WORDS = frozenset(
    {"kick", "snare", "rimshot", "crossstick", "hat", "tom", "floor", "crash", "splash", "china", "cymbal", "ride"}
)
_SPELLINGS = (
    (r"\b(hi|high)? ?hats?\b|\bhh\b", " hat "),
    (r"\bchh?\b|\bhhc\b", " hat closed "),
    (r"\bohh?\b|\bhho\b", " hat open "),
    (r"\bphh?\b", " hat pedal "),
    (r"semi ?open(ed)?|half ?open(ed)?", " half "),
    (r"bass ?drums?|\bbd\b|\bbass\b|\bkicks?\b|\bkik\b", " kick "),
    (r"\bsd\b|\bsnr?\b|\bsnares?\b", " snare "),
    (r"side ?sticks?|cross ?sticks?|x ?sticks?|rim ?clicks?|\brim\b(?! ?shot)", " crossstick "),
    (r"rim ?shots?", " rimshot "),
    (r"\b(hi|high|mid|lo|low|floor) ?toms?\b", r" \1 tom "),
    (r"\btom ?h\b", " tom high "),
    (r"\btom ?m\b", " tom mid "),
    (r"\btom ?l\b", " tom low "),
    (r"\btoms?(hi|high|mid|lo|low|floor)?\b", r" tom \1 "),
    (r"cow bell", "cowbell"),
    (r"\bcymbals? (closed|open|pedal)\b", r" hat \1 "),
    (r"\bcym\b|\bcymbals?\b|\bcymb\b", " cymbal "),
    (r"\bchinese\b|\bchina", " china "),
)


def drum_of_name(name: str) -> str | None:
    """The drum that `name` means: a key of `NOTES_OF_DRUM`, "tom" with an optional number, `OTHER`, or None.

    None: the name does not tell ("Drum 1", "Filter Click"). `OTHER`: the name means something else ("Cowbell", "Crash
    Choke", "Snare Roll"). Text in parentheses is ignored: it gives makers and sizes.
    """
    words = _words(name)
    if not words.isdisjoint(_OTHER_WORDS):
        # "Hand Clap" and "Wood Block" are caught by one word; "Filter Snap" too, but a "Snappy Snare" is not.
        return OTHER
    text = " ".join(_word_list(name))
    if "hat" in words:
        return _hat(words)
    if "ride" in words or "crash" in words:
        return _ride_or_crash(words, text)
    if "splash" in words:
        return "splash"
    if "china" in words:
        return "china"
    if words & {"bell", "cup"}:
        return "ride_bell"
    if "tom" in words:
        return _tom(words)
    if "floor" in words:
        return "tom_floor"
    if "crossstick" in words:
        return "cross_stick"
    for drum in ("rimshot", "snare", "kick", "cymbal", "stick"):
        if drum in words:
            return drum
    return None


def is_percussion(name: str) -> bool:
    """Whether a name means percussion of no lane: a cowbell, but not a roll on the snare or a choked crash."""
    return drum_of_name(name) == OTHER and _words(name).isdisjoint(_LANE_WORDS)


def may_be_lane(name: str, note: int) -> bool:
    """Whether a sample of that name may play `note`: false only if the name clearly means another lane.

    All toms count as one here, since SoundFonts play a single tom at several pitches.
    """
    drum = drum_of_name(name)
    if drum is None:
        return True
    if drum == OTHER:
        return is_attack_noise(name)
    lane = LANES[LANE_OF_NOTE[note]]
    if drum.startswith("tom"):
        return lane.endswith("_tom")
    if drum == "cymbal":
        return lane in ("crash", "ride")
    return lane == LANES[LANE_OF_NOTE[NOTES_OF_DRUM[drum][0]]]


def is_attack_noise(name: str) -> bool:
    """Whether a name means a snap or noise, which SoundFonts stack under any drum to sharpen its attack."""
    return not _words(name).isdisjoint({"snap", "noise"})


def assign_notes(named: Iterable[tuple[str, int | None]]) -> list[int | None]:
    """Give each instrument of one kit a note, or None if it belongs to no lane or all its drum's notes are taken.

    Names decide. The note that the kit's author gave decides only where the name is ambiguous: a "Stick" may be a
    cross-stick or two sticks, a "Cymbal" a crash or a ride. Toms that are only numbered go from high to low: two of
    them beside a low or floor tom are high and mid, three are high, mid and low. Where no tom is high, mid ones count
    as high: a kit's only rack tom sounds the same under either name.

    Parameters
    ----------
    named : iterable of (str, int or None)
        Name and note of each instrument, in the kit's order.
    """
    named = list(named)
    drums = [drum_of_name(name) for name, _ in named]
    drums = _rank_toms(drums)
    has_cross_stick = "cross_stick" in drums
    has_crash = "crash" in drums
    result: list[int | None] = []
    taken: set[int] = set()
    for drum, (_, note) in zip(drums, named, strict=True):
        candidates: tuple[int, ...] = () if drum is None else NOTES_OF_DRUM.get(drum, ())
        if drum == "stick" and (has_cross_stick or note not in (None, 37)):
            candidates = ()
        elif drum == "cymbal":
            known = note is not None and LANES[LANE_OF_NOTE.get(note, 0)] in ("crash", "ride")
            if known and note is not None:
                candidates = (note,)
            elif has_crash:
                candidates = ()
        chosen = next((candidate for candidate in candidates if candidate not in taken), None)
        if chosen is not None:
            taken.add(chosen)
        result.append(chosen)
    return result


def _rank_toms(drums: list[str | None]) -> list[str | None]:
    """Replace "tom", "tom 1", "tom 2" … by high, mid and low ones, and a mid tom by a high one where there is none."""
    numbered = sorted({drum for drum in drums if drum is not None and re.fullmatch(r"tom( \d+)?", drum)})
    heights = ["tom_high", "tom_mid", "tom_low", "tom_floor"]
    if not {"tom_low", "tom_floor"}.isdisjoint(drums):
        heights = ["tom_high", "tom_mid", "tom_mid", "tom_mid"]
    names = dict(zip(numbered, heights + [OTHER] * len(numbered), strict=False))
    if "tom_high" not in (*drums, *names.values()):
        names["tom_mid"] = "tom_high"
    return [names.get(drum, drum) if drum is not None else None for drum in drums]


def _word_list(name: str) -> list[str]:
    text = re.sub(r"\([^)]*\)?", " ", name)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    text = re.sub(r"[^a-z0-9#]+", " ", text)
    text = re.sub(r"(?<=[a-z])(?=\d)|(?<=\d)(?=[a-z])", " ", text)
    for pattern, spelling in _SPELLINGS:
        text = re.sub(pattern, spelling, text)
    return text.split()


def _words(name: str) -> set[str]:
    return set(_word_list(name))


def _hat(words: set[str]) -> str:
    if words & {"pedal", "foot", "pd", "ped", "chick"}:
        return "hat_pedal"
    if words & {"half", "loose", "free"}:
        return "hat_half_open"
    if words & {"open", "opened", "op", "o"}:
        return "hat_open"
    return "hat_closed"


def _ride_or_crash(words: set[str], text: str) -> str:
    if "ride" in words and words & {"bell", "cup"}:
        return "ride_bell"
    if "crash" in words and not ("ride" in words and ("bow" in words or text.index("ride") < text.index("crash"))):
        return "china" if "china" in words else "crash"
    return "ride"


def _tom(words: set[str]) -> str:
    if words & {"floor", "ft"}:
        return "tom_floor"
    if words & {"low", "lo"}:
        return "tom_low"
    if words & {"mid", "middle", "medium", "med"}:
        return "tom_mid"
    if words & {"hi", "high"}:
        return "tom_high"
    number = next((word for word in sorted(words) if word.isdigit() and len(word) == 1), None)
    return f"tom {number}" if number else "tom"
