"""YAML as DVC reads it, version 1.2."""

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML


def parse_yaml(text: str) -> Any:
    """The value of a document."""
    return YAML(typ="safe").load(text)


def read_yaml(path: Path) -> Any:
    """The value of a file."""
    return parse_yaml(path.read_text(encoding="utf-8"))


def yaml_of(values: Any) -> str:
    """A document, a key a line."""
    yaml, text = YAML(typ="safe"), io.StringIO()
    yaml.default_flow_style = False
    yaml.dump(values, text)
    return text.getvalue()


def write_yaml(path: Path, values: Any) -> None:
    """Write a document to a file."""
    path.write_text(yaml_of(values), encoding="utf-8")
