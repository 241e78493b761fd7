"""Make the pages of `dvc plots show` and `dvc plots diff` work without a network.

    python scripts/offline_plots.py

DVC's pages load the scripts that show their charts from the network. This command writes `.dvc/plots/offline.html`: the
template `.dvc/plots/page.html` with these scripts inside. It sets this file as the template in `.dvc/config.local`; git
ignores both files. Pages made from then on are self-contained: they can be moved, and sent to others.

Does nothing if this is done already. Exit codes: 0 for success; 1 for failure, with the reason on standard error.
"""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "vl-convert-python"
PLACE_OF_SCRIPTS = "{scripts}"
# DVC writes charts for Vega-Lite 5; the newest version in vl-convert is a later major one.
VEGA_LITE = "5.21"


def main(root: Path = ROOT) -> int:
    """Make the template and set it in DVC's configuration; returns the exit code."""
    template, offline = root / ".dvc" / "plots" / "page.html", root / ".dvc" / "plots" / "offline.html"
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        sys.stderr.write(
            f"error: the package {PACKAGE}, which has the scripts, is missing; run `pip install -e '.[plots]'`\n"
        )
        return 1
    page = template.read_text(encoding="utf-8")
    # The text around the scripts is the template and their versions: it tells whether the file is up to date.
    before, after = page.split(PLACE_OF_SCRIPTS)
    before += f"<!-- Vega-Lite {VEGA_LITE} of {PACKAGE} {version} -->\n    <script>(() => {{"
    after = "})();</script>" + after
    made = offline.read_text(encoding="utf-8") if offline.exists() else ""
    if not (made.startswith(before) and made.endswith(after)):
        temporary = offline.with_suffix(".new")
        temporary.write_text(before + _scripts() + after, encoding="utf-8")
        temporary.replace(offline)
    return _set_template(root, f"plots/{offline.name}")


def _scripts() -> str:
    """The body of one script with Vega, Vega-Lite and Vega-Embed."""
    import vl_convert

    scripts = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return scripts.replace("</script", "<\\/script")


def _set_template(root: Path, template: str) -> int:
    config = root / ".dvc" / "config.local"
    if config.exists() and f"html_template = {template}" in config.read_text(encoding="utf-8"):
        return 0
    command = [sys.executable, "-m", "dvc", "config", "--quiet", "--local", "plots.html_template", template]
    return subprocess.run(command, cwd=root, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
