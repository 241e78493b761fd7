"""The pages of `dvc plots`, looked at by a browser that has no network."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from miniature import ROOT
from pipeline import run
from yaml_files import read_yaml

PICTURE = "metrics/evaluation/rolls.png"
# Names and definitions, in the order of dvc.yaml; the picture is a mere path there.
DECLARED: list[Any] = read_yaml(ROOT / "dvc.yaml")["plots"]
CHARTS: dict[str, dict[str, Any]] = {
    name: definition for entry in DECLARED if isinstance(entry, dict) for name, definition in entry.items()
}
VALIDATION_LANES = 5  # of which the validation split of the miniature project has onsets

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH (Debian: apt install chromium)")

# What cannot be seen in the page itself is written into it.
LISTEN = """<script>
    const errors = [];
    const keep = (text) => { errors.push(String(text)); document.documentElement.dataset.errors = errors.join("; "); };
    window.addEventListener("error", (event) => keep(event.message || event.target.src || event.type), true);
    window.addEventListener("unhandledrejection", (event) => keep(event.reason));
    console.error = keep;
    window.addEventListener("load", () => {
        for (const image of document.images) image.dataset.width = image.naturalWidth;
    });
</script>"""


class Page:
    """What a browser without a network makes of a page."""

    def __init__(self, page: Path, profile: Path) -> None:
        assert BROWSER is not None
        heard = page.with_name("heard.html")
        heard.write_text(page.read_text(encoding="utf-8").replace("<head>", f"<head>{LISTEN}", 1), encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        options += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000", "--dump-dom"]
        done = subprocess.run([BROWSER, *options, heard.as_uri()], capture_output=True, text=True, check=True)
        self.text = done.stdout
        head, *places = re.split(r'<div id="(?!missing)([^"]+)"', self.text)
        self.head = head
        self.parts = dict(zip(places[::2], places[1::2], strict=True))

    def errors(self) -> list[str]:
        return re.findall(r'data-errors="([^"]*)"', self.text)

    def marks(self, name: str, kind: str) -> int:
        """How many marks of a kind a chart has: what Vega draws of data, not axes and legends."""
        groups = re.findall(rf'<g class="mark-{kind} role-mark[^"]*"[^>]*>(.*?)</g>', self.parts[name], re.DOTALL)
        return sum(len(re.findall(r"<path[^>]* d=\"M|<text", group)) for group in groups)


def place_of(name: str) -> str:
    """The id that DVC gives to the place of a plot."""
    return re.sub(r"[/. ]", "_", name)


DATA = {"features": "features", "labels": "labels.h5", "splits": "splits.csv"}


def run_stage(project: Path, stage: str, **options: str | Path) -> None:
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    run(project, sys.executable, "-m", f"stages.{stage}", *words)


@pytest.fixture(scope="module")
def metrics(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the miniature project says of the released model: its own is trained too little to make a curve."""
    folder = tmp_path_factory.mktemp("metrics")
    shutil.copytree(project / "metrics" / "training", folder / "training")
    inputs = {name: f"data/{file}" for name, file in DATA.items()}
    inputs["model"] = str(ROOT / "models" / "released" / "drum_crnn.safetensors")
    curves, transfer = folder / "thresholds.csv", folder / "threshold_transfer.csv"
    written = {"thresholds": folder.parent / "thresholds.json", "curves": curves, "transfer": transfer}
    run_stage(project, "tune_thresholds", **inputs, **written)
    written = {"scores": folder / "evaluation.json", "tables": folder / "evaluation"}
    run_stage(project, "evaluate", **inputs, catalog="data/catalog.csv", **written)
    return folder


@pytest.fixture(scope="module")
def with_metrics(project: Path, metrics: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the miniature project that has these metrics for its own, in git and in DVC's cache."""
    copy = shutil.copytree(project, tmp_path_factory.mktemp("plotted") / "project", symlinks=True)
    (copy / ".dvc" / "config.local").unlink(missing_ok=True)
    shutil.rmtree(copy / "metrics")
    shutil.copytree(metrics, copy / "metrics")
    (copy / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "offline_plots.py", copy / "scripts")
    run(copy, "dvc", "commit", "--force", "--quiet")
    run(copy, "git", "add", "--all")
    run(copy, "git", "commit", "--quiet", "--message", "metrics")
    return copy


@pytest.fixture
def plotted(with_metrics: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(with_metrics, tmp_path / "project", symlinks=True)


def table_of(project: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((project / "metrics" / "evaluation" / f"{name}.csv").read_text().splitlines()))


def n_scored(project: Path, score: str = "f1") -> int:
    """Lanes that have an F, or another score, in the test split, and all together."""
    return sum(bool(row[score]) for row in table_of(project, "lanes"))


def lanes_in(project: Path, name: str) -> set[str]:
    """The lanes that have rows in a table of the evaluation."""
    return {row["lane"] for row in table_of(project, name)}


def make_offline(project: Path) -> str:
    return run(project, sys.executable, "scripts/offline_plots.py")


def charts_of(page: Path) -> list[dict[str, Any]]:
    found = re.findall(r"var spec = (\{.*\});$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [json.loads(chart) for chart in found]


def title_of(chart: dict[str, Any]) -> str:
    return str(chart["title"])


def test_plots_stand_in_the_declared_order(plotted: Path) -> None:
    run(plotted, "dvc", "plots", "show")
    page = plotted / "dvc_plots" / "index.html"
    assert [title_of(chart) for chart in charts_of(page)] == [chart["title"] for chart in CHARTS.values()]
    assert DECLARED[-1] == PICTURE
    assert page.read_text().rindex("<img ") > page.read_text().rindex("var spec")


def test_templates_are_filled(plotted: Path) -> None:
    run(plotted, "dvc", "plots", "show")
    for chart in charts_of(plotted / "dvc_plots" / "index.html"):
        assert chart["data"]["values"]
        assert "<DVC_" not in json.dumps(chart)


@needs_browser
def test_every_plot_is_drawn_without_a_network(plotted: Path, tmp_path: Path) -> None:
    make_offline(plotted)
    run(plotted, "dvc", "plots", "show", "--out", "some/other/folder")
    page = Page(plotted / "some" / "other" / "folder" / "index.html", tmp_path / "profile")
    assert page.errors() == []
    assert list(page.parts) == [place_of(name) for name in (*CHARTS, PICTURE)]
    assert "This chart could not be drawn" not in "".join(page.parts.values())
    assert page.marks("Loss", "line") == 2
    assert page.marks("Loss", "symbol") == 2  # one epoch
    assert page.marks("F_by_epoch", "line") == VALIDATION_LANES + 1
    assert page.marks("F_of_each_lane", "rect") == n_scored(plotted)
    assert page.marks("Precision_and_recall", "line") == VALIDATION_LANES
    assert page.marks("F_by_threshold", "line") == VALIDATION_LANES
    assert page.marks("Average_precision_of_each_lane", "rect") == n_scored(plotted, "average_precision")
    assert page.marks("Precision_and_recall_in_the_test_split", "line") == len(lanes_in(plotted, "precision_recall"))
    chosen = [row for row in table_of(plotted, "precision_recall") if row["chosen"] == "1"]
    points = len(table_of(plotted, "precision_recall")) + len(chosen)  # those of a chosen threshold are drawn twice
    assert page.marks("Precision_and_recall_in_the_test_split", "symbol") == points
    assert page.marks("Reliability", "line") == 2 * len(lanes_in(plotted, "reliability"))  # each beside the diagonal
    assert page.marks("Reliability", "symbol") == len(table_of(plotted, "reliability"))
    assert page.marks("Played_and_heard", "rect") == 81
    assert page.marks("Timing_errors", "area") == 1
    assert page.marks("F_of_each_kit", "rect") == 3
    [width] = re.findall(r'data-width="(\d+)"', page.parts[place_of(PICTURE)])
    assert int(width) > 500


@needs_browser
def test_two_revisions_are_overlaid_and_their_pictures_side_by_side(plotted: Path, tmp_path: Path) -> None:
    make_offline(plotted)
    lanes = plotted / "metrics" / "evaluation" / "lanes.csv"
    lanes.write_text(re.sub(r"^kick,.*", "kick,9,9,1,1,1,0.9,1,1,1,1,1,1,1", lanes.read_text(), flags=re.MULTILINE))
    run(plotted, "dvc", "plots", "diff", "HEAD")
    page = Page(plotted / "dvc_plots" / "index.html", tmp_path / "profile")
    assert page.errors() == []
    assert list(page.parts) == [place_of(name) for name in (*CHARTS, PICTURE)]
    assert page.marks("Loss", "line") == 2 * 2
    assert page.marks("F_by_epoch", "line") == 2 * (VALIDATION_LANES + 1)
    assert page.marks("F_of_each_lane", "rect") == 2 * n_scored(plotted)
    assert page.marks("Reliability", "line") == 3 * len(lanes_in(plotted, "reliability"))  # and one diagonal
    assert page.marks("Played_and_heard", "rect") == 2 * 81
    for name in map(place_of, CHARTS):  # a legend, or a heading, names both
        assert ">HEAD<" in page.parts[name]
        assert ">workspace<" in page.parts[name]
    assert page.parts[place_of(PICTURE)].count("data-width=") == 2


@needs_browser
def test_without_scripts_and_network_the_page_says_what_to_do(plotted: Path, tmp_path: Path) -> None:
    run(plotted, "dvc", "plots", "show")
    page = Page(plotted / "dvc_plots" / "index.html", tmp_path / "profile")
    assert re.search(r'<html[^>]* class="without-scripts"', page.head)
    assert "python scripts/offline_plots.py" in page.head
    assert "<svg" not in page.text


def test_an_offline_page_loads_nothing(plotted: Path) -> None:
    make_offline(plotted)
    run(plotted, "dvc", "plots", "show")
    assert not re.search(r'<(script|link|img)[^>]*(src|href)="\w+:', (plotted / "dvc_plots" / "index.html").read_text())


def test_the_offline_template_is_made_once_and_follows_the_page(plotted: Path) -> None:
    assert make_offline(plotted) == ""
    offline, config = plotted / ".dvc" / "plots" / "offline.html", plotted / ".dvc" / "config.local"
    assert run(plotted, "dvc", "config", "plots.html_template").strip() == "plots/offline.html"
    assert run(plotted, "git", "status", "--porcelain") == ""
    before = offline.stat().st_mtime_ns, config.stat().st_mtime_ns
    make_offline(plotted)
    assert (offline.stat().st_mtime_ns, config.stat().st_mtime_ns) == before
    page = plotted / ".dvc" / "plots" / "page.html"
    page.write_text(page.read_text().replace("<title>drum_crnn", "<title>other"))
    make_offline(plotted)
    assert "<title>other" in offline.read_text()
    offline.write_text(offline.read_text()[:-20])  # a disk that was full
    make_offline(plotted)
    assert offline.read_text().endswith("</html>\n")


def test_a_missing_package_is_named(plotted: Path) -> None:
    code = "import scripts.offline_plots as page; page.PACKAGE = 'of-nobody'; raise SystemExit(page.main())"
    done = subprocess.run([sys.executable, "-c", code], cwd=plotted, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install -e '.[plots]'" in done.stderr
    assert not (plotted / ".dvc" / "plots" / "offline.html").exists()
