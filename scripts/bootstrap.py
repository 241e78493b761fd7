"""Make or mend `.venv`, so that `make repro` and `make test` need nothing but Python and make.

    python scripts/bootstrap.py [--search] [--uv uv] [--extra dev]

It installs the project with the versions of `requirements.lock`: by uv where that is named and found, else by pip.
`.venv/bootstrap.json` says what was installed. A call that finds it true installs nothing. While an installation runs
it is empty, and a call that finds it so makes the environment anew. An environment without it was made by somebody
else: what that lacks is installed into it.

Every Python from 3.6 on can parse this file, so that an old one can say that it is too old.
Exit codes: 0 the environment is ready, 1 it is not, and a sentence says what to do.
"""

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

OLDEST = (3, 11)  # as in pyproject.toml, which an old Python cannot read
NEWEST_MINOR = 14  # the newest Python that torch is published for
MIN_FREE_GB = 7.0  # torch with CUDA and all else is 6.6 GB; for a CPU build, set BOOTSTRAP_MIN_FREE_GB

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / "bootstrap.json"


class BootstrapError(Exception):
    """Something that is in the way; the message is one sentence that says what to do."""


def main() -> int:
    """Make the environment ready; returns the exit code."""
    parser = argparse.ArgumentParser(description="Make or mend .venv.")
    parser.add_argument("--extra", action="append", default=[], help="an extra of pyproject.toml to install as well")
    parser.add_argument("--search", action="store_true", help="if this Python is too old, take the newest on PATH")
    parser.add_argument("--uv", default="", help="the uv to install with, if it is found; without it, pip installs")
    options = parser.parse_args()
    try:
        require_python(search=options.search)
        with LOCK.open() as lock:
            wait_for_others(lock)
            prepare(options.extra, uv=shutil.which(options.uv) or "")
        tell_dvc_about_git(ROOT, VENV_PYTHON)
        return 0
    except BootstrapError as error:
        sys.stderr.write(f"error: {error}\n")
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"error: {error}: put that right and run the same command again\n")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to go on\n")
    return 1


def require_python(*, search: bool) -> None:
    """Go on only under a Python that is new enough, or become one (`search`)."""
    if sys.version_info[:2] >= OLDEST:
        return
    version, oldest = sys.version.split()[0], "{}.{}".format(*OLDEST)
    for minor in range(NEWEST_MINOR, OLDEST[1] - 1, -1) if search else ():
        other = shutil.which(f"python3.{minor}")
        # Asked, not believed: a version manager puts stand-ins on PATH that only say what is not installed.
        if other and subprocess.run([other, "-c", ""], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            say(f"{sys.executable} is Python {version}, too old; taking {other}")
            os.execv(other, [other, *(argument for argument in sys.argv if argument != "--search")])
    raise BootstrapError(
        f"Python {version} ({sys.executable}) is too old: Python {oldest} or newer is needed; "
        f"install one, and name it if it is not on PATH: make PYTHON=/path/to/python{oldest} ..."
    )


def wait_for_others(lock: "IO[str]") -> None:
    """Hold `lock` until it is closed: an installation that still runs is not to be taken for an interrupted one."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another make is installing; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)


def prepare(extras: "list[str]", *, uv: str) -> None:
    """Make `.venv` hold the project with `extras`, installed by `uv` or, if that is empty, by pip."""
    stamp: dict[str, Any] = json.loads(STAMP.read_text() or "{}") if STAMP.exists() else {"venv": str(VENV)}
    extras = sorted({*extras, *stamp.get("extras", [])})  # `make repro` keeps what `make test` installed
    inputs = (ROOT / "pyproject.toml").read_bytes() + LOCK.read_bytes()
    goal = {"venv": str(VENV), "extras": extras, "inputs": hashlib.sha256(inputs).hexdigest()}
    works = (VENV / "pyvenv.cfg").exists() and VENV_PYTHON.exists()
    if works and stamp == goal:
        return
    if works and stamp.get("venv") != str(VENV):  # moved, it would run the programs of its old place, or none
        say(f"{VENV} was moved or left unfinished: making it anew")
    if not works or stamp.get("venv") != str(VENV):
        _make_venv(uv=uv)
        stamp = {}
    STAMP.write_text("")
    code = _install(extras, uv=uv)
    # A program that gives up by itself has undone what it began, so what worked before still does; one killed has not.
    STAMP.write_text(json.dumps(goal if code == 0 else stamp if code > 0 else {}))
    if code != 0:
        hint = ", or let pip try, whose configuration uv does not read: make UV= ..." if uv else ""
        raise BootstrapError(
            f"{uv or 'pip'} could not install the project: mend what it says above and run the same command again{hint}"
        )


def _make_venv(*, uv: str) -> None:
    """Make `.venv` an empty environment, if there is a module for it, and room."""
    try:
        import venv

        if not uv:
            import ensurepip  # noqa: F401 - Debian takes it out of Python, and leaves `venv` in
    except ImportError:
        raise BootstrapError(
            f"{sys.executable} has no venv module: install it (on Debian and Ubuntu: "
            f"apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv) and run the same command again"
        ) from None
    needed = float(os.environ.get("BOOTSTRAP_MIN_FREE_GB", MIN_FREE_GB))
    free = shutil.disk_usage(str(VENV if VENV.exists() else ROOT)).free / 1e9
    if free < needed:
        raise BootstrapError(
            f"{ROOT}: {free:.1f} GB of disk are free and {needed:g} GB are needed to install torch and the "
            "rest: make room, or set BOOTSTRAP_MIN_FREE_GB to a smaller number to try all the same"
        )
    say(f"making {VENV} with Python {sys.version.split()[0]}")
    # First, so that what is only half removed is never taken for an environment. Resolved: it may be a link to a disk.
    (VENV / "pyvenv.cfg").unlink(missing_ok=True)
    venv.EnvBuilder(clear=True, symlinks=True).create(VENV.resolve())


def _install(extras: "list[str]", *, uv: str) -> int:
    """Install the project with `extras` in the versions of the lock; returns the exit code of uv or pip."""
    target = f".[{','.join(extras)}]" if extras else "."
    say(f"installing the project ({target}) into {VENV} with {uv or 'pip'}; this can take some minutes")
    command = [uv, "pip", "install", "--python", str(VENV_PYTHON)]
    if not uv:
        # For an environment that uv made; where pip is there, nothing happens, and where it cannot come, it says so.
        subprocess.run([VENV_PYTHON, "-m", "ensurepip", "--default-pip"], stdout=subprocess.DEVNULL, check=False)
        command = [str(VENV_PYTHON), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    return subprocess.run([*command, "-c", LOCK.name, "-e", target], cwd=str(ROOT), check=False).returncode


def tell_dvc_about_git(root: Path, python: Path) -> None:
    """Set `core.no_scm` in the DVC project `root` if it has no `.git` of its own, and take it back if it has.

    Without git, as in an unpacked archive, DVC refuses to work unless that is set. `.git` is a folder in a clone and a
    file in a worktree. `python` is one that has DVC.
    """
    config = root / ".dvc" / "config.local"
    is_set = config.exists() and re.search(r"no_scm\s*=\s*true", config.read_text()) is not None
    has_git = (root / ".git").exists()
    if config.parent.is_dir() and is_set == has_git:
        say("git is here: telling DVC to use it" if has_git else "no git here: telling DVC to do without (core.no_scm)")
        change = ["--unset", "core.no_scm"] if has_git else ["core.no_scm", "true"]
        subprocess.run([python, "-m", "dvc", "config", "--local", *change], cwd=str(root), check=True)


def say(message: str) -> None:
    """Print one line for people."""
    sys.stdout.write(f"bootstrap: {message}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
