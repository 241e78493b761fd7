"""The limits of the body: two hands and two feet, none faster than a person's."""

from bisect import bisect
from collections.abc import Sequence

from drum_crnn.music.lanes import LANE_OF_NOTE
from drum_crnn.studio.drummer import Hit

__all__ = [
    "keep_playable",
]

_LIMB_GAP_S = 0.080  # a hand or a foot needs this long between two strokes of its own
_BOUNCE_GAP_S = 0.018  # ... but a stick that bounces on one drum is faster: grace notes
_LANE_GAP_S = 0.012  # closer strokes on one drum sound as one


def _clash(a: Hit, b: Hit) -> bool:
    gap = abs(a.time_s - b.time_s)
    same_lane = LANE_OF_NOTE[a.note] == LANE_OF_NOTE[b.note]
    if same_lane and gap < _LANE_GAP_S:
        return True
    if a.limb != b.limb:
        return False
    bounces = same_lane and (a.is_grace or b.is_grace)
    return gap < (_BOUNCE_GAP_S if bounces else _LIMB_GAP_S)


def keep_playable(hits: Sequence[Hit]) -> list[Hit]:
    """Remove the strokes that two hands and two feet cannot play.

    Two strokes conflict if they are too close for one limb, or for one drum. The louder one stays. Grace notes take
    precedence, since a flam is deliberate: a drummer skips a stroke on the hi-hat for it.

    Returns
    -------
    list of Hit
        Sorted by time. Any two of one limb are 80 ms apart (bounces on one drum 18 ms), so that no more than two
        strokes of hands fall within 15 ms; any two of one lane are 12 ms apart.
    """
    times: list[float] = []
    kept: list[Hit] = []  # sorted by time, as `times` is
    for hit in sorted(hits, key=lambda hit: (not hit.is_grace, -hit.velocity, hit.time_s)):
        at = bisect(times, hit.time_s)
        first, end = bisect(times, hit.time_s - _LIMB_GAP_S), bisect(times, hit.time_s + _LIMB_GAP_S)
        if not any(_clash(hit, other) for other in kept[first:end]):
            times.insert(at, hit.time_s)
            kept.insert(at, hit)
    return kept
