"""Typed sections of `params.yaml`.

Each section is one frozen, strict pydantic class beside the code that uses it. Strict means: a misspelt key, a missing
key, or text where a number should stand is an error that names the section, the key and what to write.
"""

import difflib
import json
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from drum_crnn.errors import DrumCrnnError

__all__ = ["PARAMS_FILE", "ParamsSection", "StrictModel"]

PARAMS_FILE = Path("params.yaml")


class StrictModel(BaseModel):
    """A frozen group of parameters without defaults of its own: `params.yaml` is the single place for values."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


class ParamsSection(StrictModel):
    """One top-level section of `params.yaml`; `section` is its name there."""

    section: ClassVar[str]

    @classmethod
    def load(cls, path: Path = PARAMS_FILE) -> Self:
        """Read and check this section of the file.

        Raises
        ------
        DrumCrnnError
            If the file cannot be read, or the section lacks a key, has one too many, or a value is of the wrong type
            or out of range. Every fault of the section is listed.
        """
        document = _read_yaml(path)
        if cls.section not in document:
            near = difflib.get_close_matches(cls.section, map(str, document), n=1)
            hint = f" (found '{near[0]}': is it misspelt?)" if near else ""
            raise DrumCrnnError(f"{path}: section '{cls.section}' is missing{hint}")
        return cls.check(document[cls.section], source=str(path))

    @classmethod
    def check(cls, values: Any, *, source: str) -> Self:
        """Validate `values` (parsed YAML or JSON) as this section; `source` names the file in messages."""
        if values is None:
            values = {}
        try:
            # JSON mode keeps the strictness but takes a list for a tuple, which is all that YAML can write.
            return cls.model_validate_json(json.dumps(values))
        except ValidationError as error:
            faults = [_describe(cls, fault) for fault in error.errors()]
            raise DrumCrnnError("\n".join(f"{source}: {cls.section}{fault}" for fault in faults)) from None
        except TypeError as error:
            raise DrumCrnnError(f"{source}: {cls.section}: {error}") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DrumCrnnError(f"{path}: there is no such file; run from the project's root or name it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DrumCrnnError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise DrumCrnnError(f"{path}: is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise DrumCrnnError(f"{path}: should hold sections such as 'train:', each with its keys")
    return document


def _describe(model: type[BaseModel], fault: Any) -> str:
    """One pydantic fault as `.key: what is wrong and what to write`."""
    location: tuple[str | int, ...] = fault["loc"]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    value = fault.get("input")
    if fault["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        return f"{path}: unknown key; " + (f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}")
    if fault["type"] == "missing":
        return f"{path}: is missing"
    if isinstance(value, str) and fault["type"] in ("float_type", "int_type") and _is_number(value):
        return f"{path}: '{value}' is text to YAML, not a number; write {float(value)!r}"
    return f"{path}: {fault['msg']} (found {json.dumps(value, default=str)[:80]})"


def _known_keys(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        model = field.annotation
    return list(model.model_fields)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
