"""A stage that stops at a place, says so and waits there, so that a test can do to it what it likes.

    python held.py -m stages.train ARGUMENTS...

The environment says the rest: HELD_AT is the place, `module:function#3` for the third call of a function in a process;
HELD_RANKS are the ranks that are held, `0,1`; HELD_IN is a folder, which gets a file `held-RANK` with the number of the
process. Whoever is held waits until it is killed, or until it is asked to stop: then it goes on.
"""

import functools
import importlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path.cwd()))  # as `python -m` has it

from waiting import AT_MOST_S  # beside this file


def hold(place: str, folder: Path, ranks: Collection[str]) -> None:
    """Replace the function at `place` by one whose n-th call waits."""
    name, _, number = place.partition("#")
    owner, _, function = name.partition(":")
    module = importlib.import_module(owner)
    original, calls = getattr(module, function), itertools.count(1)

    @functools.wraps(original)
    def held(*arguments: Any, **options: Any) -> Any:
        rank = os.environ.get("RANK", "0")
        if next(calls) == int(number or 1) and rank in ranks:
            unfinished = folder / f".held-{rank}-{os.getpid()}"
            unfinished.write_text(str(os.getpid()))
            unfinished.replace(folder / f"held-{rank}")
            # A training is asked by a StopRequest of its `Run`; a signal that raises ends the sleep.
            stop = getattr(arguments[0], "stop", None) if arguments else None
            until = time.monotonic() + AT_MOST_S
            while not stop:
                assert time.monotonic() < until, "nobody came"
                time.sleep(0.005)
        return original(*arguments, **options)

    setattr(module, function, held)


# In ranks as well, which import this file anew; a rank that was started again is not held again.
if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
    hold(os.environ["HELD_AT"], Path(os.environ["HELD_IN"]), os.environ["HELD_RANKS"].split(","))

if __name__ == "__main__":
    # Whoever runs the tests may ignore some of them: nohup does, and a shell in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_DFL)
    _, _, stage, *arguments = sys.argv
    sys.argv = [stage, *arguments]
    importlib.import_module(stage).app()
