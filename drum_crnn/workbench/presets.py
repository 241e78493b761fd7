"""Presets: files with some values of `params.yaml`, such as those of the released model."""

import math
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarfloat import ScalarFloat

from drum_crnn.foundation.atomic import write_text
from drum_crnn.foundation.errors import DrumCrnnError
from drum_crnn.foundation.params import read_yaml

__all__ = ["apply_presets"]

_LINE_WIDTH = 4096  # so that no line is wrapped


def apply_presets(params_file: Path, preset_files: Sequence[Path], settings: Sequence[str] = ()) -> list[str]:
    """Write the values of presets into `params_file`, and keep everything else, comments too.

    Parameters
    ----------
    preset_files : sequence of Path
        Applied one after the other; later ones win.
    settings : sequence of str
        Values to apply after the presets: "KEY=VALUE", with a dotted key and a YAML value.

    Returns
    -------
    list of str
        The dotted keys whose values were set.

    Raises
    ------
    DrumCrnnError
        If a file is missing or is not valid YAML, or a key is not in `params_file`.
    """
    params, changed = read_yaml(params_file, keep_comments=True), []
    for preset_file in preset_files:
        if not preset_file.is_file():
            known = ", ".join(sorted(other.stem for other in preset_file.parent.glob("*.yaml"))) or "none"
            raise DrumCrnnError(f"{preset_file}: there is no such preset; {preset_file.parent} has: {known}")
        preset = read_yaml(preset_file, keep_comments=True)
        changed += _merge(params, preset, "", source=str(preset_file), params_file=params_file)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise DrumCrnnError(f"--set {setting}: write it as KEY=VALUE, such as render.seed=2")
        try:
            value: Any = YAML(typ="safe").load(text)
        except (YAMLError, ValueError):  # ValueError: a date such as the 32nd of a month
            raise DrumCrnnError(f"--set {setting}: '{text}' is not YAML") from None
        for part in reversed(key.split(".")):
            value = {part: value}
        changed += _merge(params, value, "", source=f"--set {key}", params_file=params_file)
    write_text(params_file, _written(params))
    return list(dict.fromkeys(changed))


def _written(params: Any) -> str:
    """Params as YAML text, with their comments."""
    yaml = YAML()
    yaml.width = _LINE_WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), _represent_null)
    yaml.representer.add_representer(ScalarFloat, _represent_float)
    document = StringIO()
    yaml.dump(params, document)
    return document.getvalue()


def _represent_float(dumper: Any, value: ScalarFloat) -> Any:
    """Keep the form of a number, such as 1e-3, unless that would change its value."""
    if math.isfinite(value):
        node = dumper.represent_scalar_float(value)
        if float(node.value) == value:
            return node
    return dumper.represent_float(float(value))


def _represent_null(dumper: Any, _: None) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:null", "null")  # ruamel.yaml's own writes nothing


def _merge(target: Any, values: Mapping[str, Any], prefix: str, *, source: str, params_file: Path) -> list[str]:
    changed = []
    for key, value in values.items():
        if key not in target:
            raise DrumCrnnError(f"{source}: {params_file} has no '{prefix}{key}'; is it misspelt?")
        is_group, was_group = isinstance(value, Mapping), isinstance(target[key], Mapping)
        if is_group != was_group and value is not None and target[key] is not None:
            meant = "is a group of keys" if was_group else "is a single value"
            raise DrumCrnnError(f"{source}: '{prefix}{key}' of {params_file} {meant}")
        if is_group and was_group:
            changed += _merge(target[key], value, f"{prefix}{key}.", source=source, params_file=params_file)
        else:
            target[key] = value
            changed.append(f"{prefix}{key}")
    return changed
