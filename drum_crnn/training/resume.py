"""Save the state of a training, and resume from it."""

from dataclasses import asdict

from drum_crnn.foundation.console import warn
from drum_crnn.training.checkpoint import load_checkpoint, save_checkpoint
from drum_crnn.training.run import Run, TrainingState, choose_shares
from drum_crnn.training.shares import Shares

__all__ = [
    "begin",
    "restore",
    "save",
]


def begin(run: Run) -> TrainingState:
    """Start from the beginning, and save the shares of the ranks before the first step."""
    state = TrainingState(choose_shares(run))
    save(run, state)
    return state


def save(run: Run, state: TrainingState) -> None:
    """Write a checkpoint on the main rank. All ranks call this together."""
    sums = run.world.gather(state.sums)
    if run.world.is_main:
        content = {
            "state": asdict(state) | {"sums": sums},
            "learner": run.learner.state_dict(),
            "best_weights": run.best_weights,
            "devices": list(run.devices),
        }
        save_checkpoint(run.checkpoint, content)


def restore(run: Run) -> TrainingState | None:
    """Resume from the checkpoint of exactly these params, data and code; None if there is none."""
    if run.world.is_main:
        others = [path for path in run.outputs.resume.glob("*/checkpoint.pt") if path != run.checkpoint]
        if others:
            warn(
                f"{others[0].parent}: holds a checkpoint of other params, data or code, and is left alone; "
                "delete it if you will not need it"
            )
    # Only the main rank reads the checkpoint, because only it writes one: another machine has none, or an old one.
    is_there = run.world.is_main and run.checkpoint.is_file()
    if (file := run.world.broadcast(run.checkpoint.read_bytes() if is_there else None)) is None:
        return None
    content = load_checkpoint(file, run.checkpoint)
    run.learner.load_state_dict(content["learner"])
    run.best_weights.update(content["best_weights"])
    values = content["state"]
    state = TrainingState(**values | {"shares": Shares(**values["shares"]), "sums": values["sums"][run.world.rank]})
    if tuple(content["devices"]) != run.devices:
        state.shares = choose_shares(run)  # those of the checkpoint may not fit into the memory of these devices
    if run.world.is_main:
        warn(f"resuming at {state.place}, from {run.checkpoint}")
    return state
