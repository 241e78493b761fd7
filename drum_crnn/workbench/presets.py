"""Presets: values that are laid over `params.yaml` as a whole, such as those of the released model."""

from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarfloat import ScalarFloat

from drum_crnn.foundation.atomic import write_text
from drum_crnn.foundation.errors import DrumCrnnError

__all__ = ["apply_presets", "read_yaml"]

_LINE_WIDTH = 4096  # no line is broken that was not


def apply_presets(params_file: Path, preset_files: Sequence[Path], settings: Sequence[str] = ()) -> list[str]:
    """Change the values in `params_file` that `preset_files` name, and keep everything else, comments too.

    Parameters
    ----------
    preset_files : sequence of Path
        Laid over one after the other, so that later ones win.
    settings : sequence of str
        Further changes, "KEY=VALUE" with the key as dots write it and the value as YAML does.

    Returns
    -------
    list of str
        The keys that were given a value, dotted.

    Raises
    ------
    DrumCrnnError
        If a file is missing or no YAML, or a key is not in `params_file`.
    """
    params, changed = read_yaml(params_file), []
    for preset_file in preset_files:
        preset = _with_plain_numbers(read_yaml(preset_file))
        changed += _lay_over(params, preset, "", source=str(preset_file), params_file=params_file)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise DrumCrnnError(f"--set {setting}: write it as KEY=VALUE, such as render.seed=2")
        try:
            value: Any = YAML(typ="safe").load(text)
        except YAMLError:
            raise DrumCrnnError(f"--set {setting}: '{text}' is not YAML") from None
        for part in reversed(key.split(".")):
            value = {part: value}
        changed += _lay_over(params, value, "", source=f"--set {key}", params_file=params_file)
    document = StringIO()
    _yaml().dump(params, document)
    write_text(params_file, document.getvalue())
    return list(dict.fromkeys(changed))


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = _LINE_WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.preserve_quotes = True
    yaml.representer.add_representer(type(None), _represent_null)
    yaml.representer.add_representer(float, _represent_float)
    return yaml


def _represent_float(dumper: Any, value: float) -> Any:
    text = repr(value)
    if "e" in text and "." not in text:  # other readers of the file, of YAML 1.1, take 2e-05 for text
        return dumper.represent_scalar("tag:yaml.org,2002:float", text.replace("e", ".0e"))
    return dumper.represent_float(value)


def _represent_null(dumper: Any, _: None) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:null", "null")  # ruamel writes nothing at all


def _with_plain_numbers(node: Any) -> Any:
    """The same without the way in which numbers were written: `1e-3` is text to readers of YAML 1.1."""
    if isinstance(node, MutableMapping):
        for key in node:
            node[key] = _with_plain_numbers(node[key])
    elif isinstance(node, MutableSequence):
        node[:] = [_with_plain_numbers(item) for item in node]
    return float(node) if isinstance(node, ScalarFloat) else node


def read_yaml(path: Path) -> Any:
    """The content of a file of sections or keys, with its comments, for changing it.

    Raises
    ------
    DrumCrnnError
        If the file is missing, no YAML, or has no keys.
    """
    try:
        document = _yaml().load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml"))) or "none"
        raise DrumCrnnError(f"{path}: there is no such file; {path.parent} has: {known}") from None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise DrumCrnnError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(document, dict):
        raise DrumCrnnError(f"{path}: should hold sections such as 'train:', each with its keys")
    return document


def _lay_over(target: Any, values: Mapping[str, Any], prefix: str, *, source: str, params_file: Path) -> list[str]:
    changed = []
    for key, value in values.items():
        if key not in target:
            raise DrumCrnnError(f"{source}: {params_file} has no '{prefix}{key}'; is it misspelt?")
        is_group, was_group = isinstance(value, Mapping), isinstance(target[key], Mapping)
        if is_group != was_group and value is not None and target[key] is not None:
            meant = "is a group of keys" if was_group else "is a single value"
            raise DrumCrnnError(f"{source}: '{prefix}{key}' of {params_file} {meant}")
        if is_group and was_group:
            changed += _lay_over(target[key], value, f"{prefix}{key}.", source=source, params_file=params_file)
        else:
            target[key] = value
            changed.append(f"{prefix}{key}")
    return changed
