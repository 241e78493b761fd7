"""Make or mend `.venv`, so that `make repro` and `make test` need nothing but Python and make.

    python scripts/bootstrap.py [--search] [--extra dev] [--project DIR]

Standard library only, in a syntax that Python 3.6 can parse: an old Python must get as far as saying that it is one.

`.venv/bootstrap.json` says what was installed from which `pyproject.toml`; while that holds, pip is not called. It says
"unfinished" while something is being made, so that whatever was interrupted is thrown away and made anew. A working
environment without that file (made by hand, or by uv) is completed and kept. DVC is told as well whether there is git:
in an unpacked archive it refuses to work unless `core.no_scm` is set.

Every error is one sentence that says what to do. Exit codes: 0 the environment is ready, 1 it is not.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

# The newest Python that torch is published for; a newer one on PATH would only fail later.
NEWEST_MINOR = 14
# torch with the CUDA libraries it brings and everything else is 6.6 GB; set BOOTSTRAP_MIN_FREE_GB for a CPU build.
MIN_FREE_GB = 7.0

# Run by the environment's own Python: its version, and which distributions it lacks.
PROBE = """
import importlib.metadata, json, sys
missing = []
for name in sys.argv[1:]:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        missing.append(name)
print(json.dumps({"python": list(sys.version_info[:2]), "missing": missing}))
"""

UNREACHABLE = re.compile(
    # An index answers 404 for what it does not have: that one was reached.
    r"connection broken by|Could not fetch URL .*?: (?!404)|HTTPS?ConnectionPool|Timeout(Error)?\b|incomplete-download"
)
DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded|Errno 28\b")
NO_RELEASE = re.compile(r"No matching distribution found for ([^;\n]+)")
USED_PYTHON = re.compile(r"Using pip .*\(python ([\d.]+)\)")
LAST_ERROR = re.compile(r"^\S+ +(?:ERROR|error): (?:\[present-rich\] )?(.+)", re.MULTILINE)


class BootstrapError(Exception):
    """Something that is in the way; the message is one sentence that says what to do."""


class Project:
    """A project's folder, its environment, and what `pyproject.toml` asks for.

    Parameters
    ----------
    root : Path
        The folder of `pyproject.toml`.

    Raises
    ------
    BootstrapError
        If there is no `pyproject.toml`, or it names no oldest Python (`requires-python = ">=3.11"`).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pyproject = root / "pyproject.toml"
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.pip_log = self.venv / "pip.log"
        self.stamp = self.venv / "bootstrap.json"
        if not self.pyproject.is_file():
            raise BootstrapError(f"{self.pyproject}: there is no such file; run this from the project's own folder")
        self.content = self.pyproject.read_bytes()
        # By hand, since tomllib came with 3.11 and this question is for older ones.
        oldest = re.search(rb'^requires-python\s*=\s*">=\s*(\d+)\.(\d+)', self.content, re.MULTILINE)
        if oldest is None:
            raise BootstrapError(f'{self.pyproject}: names no oldest Python; add requires-python = ">=3.11"')
        self.oldest = (int(oldest.group(1)), int(oldest.group(2)))


def main() -> int:
    """Make the environment ready; returns the exit code."""
    parser = argparse.ArgumentParser(description="Make or mend .venv.")
    parser.add_argument("--project", type=Path, default=Path(__file__).parent.parent, help="folder of pyproject.toml")
    parser.add_argument("--extra", action="append", default=[], help="optional dependencies to install as well")
    parser.add_argument("--search", action="store_true", help="if this Python is too old, take the newest on PATH")
    options = parser.parse_args()
    try:
        project = Project(options.project.resolve())
        require_python(project, search=options.search)
        # Held until this process ends: a second one must not take an install under way for an interrupted one.
        with project.pyproject.open() as lock:
            wait_for_others(lock.fileno())
            prepare(project, extras=set(options.extra))
        tell_dvc_about_git(project.root)
        if "plots" in options.extra:
            let_plots_open_offline(project)
    except BootstrapError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"error: {error}: put that right and run the same command again\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to go on\n")
        return 1
    return 0


def require_python(project: Project, *, search: bool) -> None:
    """Go on only under a Python that is new enough, or become one (`search`)."""
    if sys.version_info[:2] >= project.oldest:
        return
    oldest = "{}.{}".format(*project.oldest)
    if search:
        for minor in range(NEWEST_MINOR, project.oldest[1] - 1, -1):
            other = shutil.which(f"python3.{minor}")
            # Asked, not believed: a version manager puts stand-ins on PATH that only say what is not installed.
            if other and _answers(other, f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}))"):
                say(f"{sys.executable} is Python {_version()}, too old; taking {other}")
                os.execv(other, [other, *(argument for argument in sys.argv if argument != "--search")])
    raise BootstrapError(
        f"Python {_version()} ({sys.executable}) is too old: Python {oldest} or newer is needed; "
        f"install one, and name it if it is not on PATH: make PYTHON=/path/to/python{oldest} ..."
    )


def wait_for_others(handle: int) -> None:
    """Lock the open file `handle`, waiting for whoever holds it."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another make is installing; waiting for it")
        fcntl.flock(handle, fcntl.LOCK_EX)


def prepare(project: Project, *, extras: "set[str]") -> None:
    """Make `.venv` hold the project with `extras`; does nothing if it does.

    Raises
    ------
    BootstrapError
        If it cannot be made: an unknown extra, no `venv` module, too little disk, or pip fails.
    """
    table = _read_table(project)
    optional = table.get("optional-dependencies", {})
    unknown = extras - set(optional)
    if unknown:
        raise BootstrapError(f"{project.pyproject}: has no extra '{min(unknown)}'; known: {', '.join(optional)}")
    stamp = _read_stamp(project)
    if stamp.get("unfinished") or stamp.get("venv", str(project.venv)) != str(project.venv):
        say(f"{project.venv} was {'left unfinished' if stamp.get('unfinished') else 'moved'}: making it anew")
        _empty(project.venv)
        stamp = {}
    # What `make test` installed stays when `make repro` follows.
    wanted = sorted(extras.union(set(stamp.get("extras", [])) & set(optional)))
    goal = {
        "pyproject": hashlib.sha256(project.content).hexdigest(),
        "extras": wanted,
        "venv": str(project.venv),
    }
    found = _probe(project, _names(table, extras=wanted))
    if stamp == goal and found.get("missing") == []:
        return
    if tuple(found.get("python", ())) < project.oldest:
        _make_venv(project)
        found = {}
    # Until pip has succeeded: killed in between, it may leave a package that has its name but not all of its files.
    _write_stamp(project, {"unfinished": True})
    _install(project, extras=wanted, before=stamp if found else {"unfinished": True})
    _write_stamp(project, goal)


def tell_dvc_about_git(root: Path) -> None:
    """Set `core.no_scm` in `.dvc/config.local` where `root` has no `.git` of its own, and take it back where it has.

    `.git` is a folder in a clone and a file in a worktree. A git repository further up does not count: it is not
    this project's.
    """
    if not (root / ".dvc").is_dir():
        return
    config = root / ".dvc" / "config.local"
    lines = config.read_text(encoding="utf-8").splitlines() if config.exists() else []
    is_set = any(re.match(r"\s*no_scm\s*=\s*true\s*$", line, re.IGNORECASE) for line in lines)
    has_git = (root / ".git").exists()
    if is_set != has_git:
        return
    kept = [line for line in lines if not re.match(r"\s*no_scm\s*=", line)]
    if not has_git:
        if "[core]" not in kept:
            kept.append("[core]")
        kept.insert(kept.index("[core]") + 1, "    no_scm = true")
        say("no git here: telling DVC to do without (core.no_scm)")
    if any(line.strip() not in ("", "[core]") for line in kept):
        config.write_text("\n".join(kept) + "\n", encoding="utf-8")
    else:
        config.unlink()


def let_plots_open_offline(project: Project) -> None:
    """Run scripts/offline_plots.py, which does nothing once it has done its work; if it fails, plots need a network."""
    script = project.root / "scripts" / "offline_plots.py"
    if script.exists() and subprocess.run([project.python, script], check=False).returncode != 0:
        say("pages of `dvc plots` will load their scripts from the network: see above for the reason")


def say(message: str) -> None:
    """Print one line for people."""
    sys.stdout.write(f"bootstrap: {message}\n")
    sys.stdout.flush()


def _read_stamp(project: Project) -> "dict[str, Any]":
    """What the last call wrote down; empty if there was none."""
    try:
        stamp: dict[str, Any] = json.loads(project.stamp.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        return {"unfinished": True}
    return stamp


def _write_stamp(project: Project, stamp: "dict[str, Any]") -> None:
    temporary = project.stamp.with_suffix(".new")
    temporary.write_text(json.dumps(stamp) + "\n", encoding="utf-8")
    temporary.replace(project.stamp)


def _read_table(project: Project) -> "dict[str, Any]":
    """`[project]` of pyproject.toml."""
    import tomllib

    try:
        table: dict[str, Any] = tomllib.loads(project.content.decode("utf-8"))["project"]
    except ValueError as error:
        raise BootstrapError(f"{project.pyproject}: is not valid TOML: {error}") from None
    return table


def _names(table: "dict[str, Any]", *, extras: "list[str]") -> "list[str]":
    """The project and its direct requirements, those left out that only some platforms need."""
    groups = [table.get("dependencies", []), *(table["optional-dependencies"][extra] for extra in extras)]
    names = [re.match(r"[\w.-]+", text) for group in groups for text in group if ";" not in text]
    return [table["name"], *(name.group() for name in names if name)]


def _probe(project: Project, names: "list[str]") -> "dict[str, Any]":
    """The environment's Python version and which of `names` it lacks; empty if it cannot be used at all."""
    if not (project.venv / "pyvenv.cfg").is_file() or not project.python.exists():
        return {}
    # -I: the metadata that an editable install leaves in the project's folder is not in the environment.
    answer = subprocess.run([project.python, "-I", "-c", PROBE, *names], stdout=subprocess.PIPE, check=False)
    found: dict[str, Any] = json.loads(answer.stdout) if answer.returncode == 0 else {}
    return found


def _make_venv(project: Project) -> None:
    """An empty environment with pip; raises BootstrapError if there is no module for it, or no room."""
    try:
        import ensurepip  # noqa: F401 - Debian takes it out of Python, and leaves `venv` in
        import venv  # noqa: F401
    except ImportError:
        raise BootstrapError(
            f"{sys.executable} has no venv module: install it (on Debian and Ubuntu: "
            f"apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv) and run the same command again"
        ) from None
    needed = float(os.environ.get("BOOTSTRAP_MIN_FREE_GB", MIN_FREE_GB))
    free = shutil.disk_usage(str(project.venv if project.venv.exists() else project.root)).free / 1e9
    if free < needed:
        raise BootstrapError(
            f"{project.root}: {free:.1f} GB of disk are free and {needed:g} GB are needed to install torch and the "
            "rest: make room, or set BOOTSTRAP_MIN_FREE_GB to a smaller number to try all the same"
        )
    say(f"making {project.venv} with Python {_version()}")
    python = _python_outside(project.venv)
    _empty(project.venv)
    _write_stamp(project, {"unfinished": True})
    if subprocess.run([python, "-m", "venv", project.venv], check=False).returncode != 0:
        raise BootstrapError(f"{python} -m venv could not make {project.venv}: see above for its reason")


def _install(project: Project, *, extras: "list[str]", before: "dict[str, Any]") -> None:
    """Call pip.

    If it gives up by itself, it undoes what it had begun, and an environment that worked still does: the stamp from
    `before` is put back. Raises BootstrapError with pip's reason in one sentence.
    """
    target = f".[{','.join(extras)}]" if extras else "."
    say(f"installing the project ({target}) and what it needs into {project.venv}; this can take some minutes")
    if project.pip_log.exists():
        project.pip_log.unlink()
    if not _answers(str(project.python), "import pip"):  # uv makes environments without it
        subprocess.run([project.python, "-m", "ensurepip"], check=False)
    command = [str(project.python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "-e", target]
    # Not --log: the pip that pip calls for a package that has to be built is to write there as well.
    environment = dict(os.environ, PIP_LOG=str(project.pip_log))
    code = subprocess.run(command, cwd=str(project.root), env=environment, check=False).returncode
    if code < 0:
        raise BootstrapError(f"pip was killed by signal {-code}: run the same command again to start anew")
    if code > 0:
        _write_stamp(project, before)
        raise BootstrapError(_reason(project))


def _reason(project: Project) -> str:
    """Why pip failed, from its log."""
    log = project.pip_log.read_text(encoding="utf-8", errors="replace") if project.pip_log.exists() else ""
    ending = f"and run the same command again (pip's log: {project.pip_log})"
    missing = NO_RELEASE.search(log)
    error = LAST_ERROR.findall(log)[-1:]
    if DISK_FULL.search(log):
        return f"the disk is full: make room there and where temporary files go (TMPDIR), {ending}"
    if UNREACHABLE.search(log) and (missing or not error or error == ["Exception:"] or UNREACHABLE.search(error[0])):
        return f"pip cannot reach a package index: check the network, the proxy and `pip config list`, {ending}"
    if missing:
        python = ".".join(USED_PYTHON.findall(log)[:1])
        return (
            f"pip finds no release of {missing.group(1).strip()} that fits Python {python} here: name an index that "
            f"has it (see `pip config list`), or remove .venv and take another Python (make PYTHON=...), {ending}"
        )
    return f"pip could not install the project ({error[0] if error else 'see above'}): mend that {ending}"


def _python_outside(venv: Path) -> str:
    """The running Python, or if it is the environment's own, the one that it was made from."""
    if Path(sys.prefix).resolve() != venv.resolve():
        return sys.executable
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return str(base) if base.exists() else sys.executable


def _empty(folder: Path) -> None:
    """Make `folder` an empty one; if it is a link to another disk, it stays one."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(str(path))
        else:
            path.unlink()


def _answers(python: str, code: str) -> bool:
    """Whether `python` runs `code` to its end."""
    quiet = subprocess.DEVNULL
    return subprocess.run([python, "-c", code], stdout=quiet, stderr=quiet, check=False).returncode == 0


def _version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


if __name__ == "__main__":
    sys.exit(main())
