"""Let the pages of `dvc plots show` and `dvc plots diff` open without a network.

    python scripts/offline_plots.py

DVC's pages load the scripts that draw their charts from the network. This writes `.dvc/plots/offline.html`, which is
`.dvc/plots/page.html` with these scripts inside, and names it as the page's template in `.dvc/config.local`; git knows
of neither. A page that is made from then on is complete in itself: it can be moved, and sent to others.

Does nothing if all that is done. Exit codes: 0 it is done, 1 it cannot be, and a sentence says why.
"""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "vl-convert-python"
PLACE_OF_SCRIPTS = "{scripts}"
# DVC writes charts for Vega-Lite 5; vl-convert's newest is of a later major version.
VEGA_LITE = "5.21"


def main(root: Path = ROOT) -> int:
    """Make the template and tell DVC of it; returns the exit code."""
    template, offline = root / ".dvc" / "plots" / "page.html", root / ".dvc" / "plots" / "offline.html"
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        sys.stderr.write(
            "error: the scripts come with a package that is missing: pip install -e '.[plots]' installs it\n"
        )
        return 1
    page = template.read_text(encoding="utf-8")
    # Everything but the scripts is the template's own text, and this is all that they depend on.
    before, after = page.split(PLACE_OF_SCRIPTS)
    before += f"<!-- Vega-Lite {VEGA_LITE} of {PACKAGE} {version} -->\n    <script>(() => {{"
    after = "})();</script>" + after
    made = offline.read_text(encoding="utf-8") if offline.exists() else ""
    if not (made.startswith(before) and made.endswith(after)):
        temporary = offline.with_suffix(".new")
        temporary.write_text(before + _scripts() + after, encoding="utf-8")
        temporary.replace(offline)
    return _name_it(root, f"plots/{offline.name}")


def _scripts() -> str:
    """Vega, Vega-Lite and Vega-Embed as the body of one script."""
    import vl_convert

    scripts = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return scripts.replace("</script", "<\\/script")


def _name_it(root: Path, template: str) -> int:
    config = root / ".dvc" / "config.local"
    if config.exists() and f"html_template = {template}" in config.read_text(encoding="utf-8"):
        return 0
    command = [sys.executable, "-m", "dvc", "config", "--quiet", "--local", "plots.html_template", template]
    return subprocess.run(command, cwd=root, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
