"""Typed sections of `params.yaml`.

Each section is one frozen, strict pydantic class beside the code that uses it. Strict means: a misspelt key, a missing
key, or text where a number should stand is an error. Its message names the section, the key and what to write.

Files are read by `ruamel.yaml`, as DVC reads them, so that a value is the same to both.
"""

import difflib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self, cast, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from drum_crnn.foundation.errors import DrumCrnnError

__all__ = ["PARAMS_FILE", "Effect", "ParamsSection", "StrictModel", "read_yaml"]

PARAMS_FILE = Path("params.yaml")


class StrictModel(BaseModel):
    """A frozen group of parameters without defaults of its own: `params.yaml` is the single place for values."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def check(cls, values: Any, *, source: str) -> Self:
        """Validate values, as parsed from YAML or JSON.

        Parameters
        ----------
        source : str
            Where they stand, such as "params.yaml: train"; every line of an error's message begins with it.

        Raises
        ------
        DrumCrnnError
            If a key is missing or unknown, or a value is of the wrong type or out of range. Every fault is listed.
        """
        try:
            # JSON mode keeps the strictness but takes a list for a tuple, which is all that YAML can write.
            # What JSON does not know, such as a date, becomes text, and is refused where a number should stand.
            text = json.dumps({} if values is None else values, default=str)
        except (TypeError, ValueError):
            raise DrumCrnnError(f"{source}: a key is no text, or a group contains itself") from None
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            faults = [_describe(cls, fault) for fault in error.errors()]
            raise DrumCrnnError("\n".join(f"{source}{fault}" for fault in faults)) from None


class Effect(StrictModel):
    """A switch, how often it acts, and the range its amount is drawn from evenly."""

    enabled: bool
    probability: float = Field(ge=0, le=1)
    range: tuple[float, float]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.range[0] > self.range[1]:
            raise ValueError("range must be [low, high]")
        return self

    def draw(self, rng: np.random.Generator) -> float | None:
        """The amount, or None if it does not act; takes two numbers from `rng` either way."""
        acts = rng.random() < self.probability
        amount = rng.uniform(*self.range)
        return amount if self.enabled and acts else None


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
        document = read_yaml(path)
        if cls.section not in document:
            near = difflib.get_close_matches(cls.section, map(str, document), n=1)
            hint = f" (found '{near[0]}': is it misspelt?)" if near else ""
            raise DrumCrnnError(f"{path}: section '{cls.section}' is missing{hint}")
        return cls.check(document[cls.section], source=str(path))

    @classmethod
    def check(cls, values: Any, *, source: str) -> Self:
        """Validate the values of this section; `source` names the file, such as "params.yaml"."""
        return super().check(values, source=f"{source}: {cls.section}")


def read_yaml(path: Path, *, keep_comments: bool = False) -> dict[str, Any]:
    """Read a file of sections, or of keys.

    Parameters
    ----------
    keep_comments : bool
        Keep what people wrote around the values (comments, quotation marks, the form of numbers), for writing the file
        again with `ruamel.yaml`.

    Raises
    ------
    DrumCrnnError
        If the file is missing, is not valid YAML (a key may be there only once), or has no keys.
    """
    from ruamel.yaml import YAML  # not at the top: `drum-crnn --help` reads no file
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="rt" if keep_comments else "safe")
    yaml.preserve_quotes = True
    try:
        document = yaml.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DrumCrnnError(f"{path}: there is no such file; run from the project's root or name it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DrumCrnnError(f"{path}: cannot be read: {error}") from None
    except MarkedYAMLError as error:
        problem, _, _ = str(error.problem).partition(" with value ")  # of a key that is there twice
        raise DrumCrnnError(f"{path}:{error.problem_mark.line + 1}: is not valid YAML: {problem}") from None
    except (YAMLError, ValueError) as error:  # ValueError: the 32nd of a month
        raise DrumCrnnError(f"{path}: is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise DrumCrnnError(f"{path}: should hold keys with their values")
    return document


def _describe(model: type[BaseModel], fault: Any) -> str:
    """One pydantic fault as `.key: what is wrong and what to write`."""
    kind, value = fault["type"], fault.get("input")
    *parents, last = fault["loc"] or ("",)
    path, owner = _walk(model, fault["loc"])
    if kind == "extra_forbidden":
        path, owner = _walk(model, parents)
        known = list(owner.model_fields) if owner else []
        near = difflib.get_close_matches(str(last), known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
        return f"{path}.{last}: unknown key; {hint}"
    if kind == "missing":
        return f"{path}: is missing"
    if kind == "model_type" and owner is not None:
        return f"{path}: should be a group of the keys {', '.join(owner.model_fields)} (found {json.dumps(value)[:80]})"
    if kind == "value_error":  # of a validator of ours, whose message says it all
        return f"{path}: {fault['msg'].removeprefix('Value error, ')}"
    if isinstance(value, str) and (meant := _meant(kind, value)) is not None:
        return f"{path}: '{value}' is text; write {meant} without quotation marks"
    return f"{path}: {fault['msg']} (found {json.dumps(value, default=str)[:80]})"


def _walk(model: type[BaseModel], location: Iterable[str | int]) -> tuple[str, type[BaseModel] | None]:
    """A location as people write it, and the group of parameters that it leads to, if it is one.

    Pydantic names the member of a union that it tried ("int", "literal['auto']"); these are no keys, and left out.
    """
    path, group = "", cast(type[BaseModel] | None, model)
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif group is not None and part in group.model_fields:
            path += f".{part}"
            annotation = group.model_fields[part].annotation
            members = get_args(annotation) or (annotation,)  # of a union or a tuple
            group = next((cls for cls in members if isinstance(cls, type) and issubclass(cls, BaseModel)), None)
    return path, group


def _meant(kind: str, text: str) -> str | None:
    """What was meant by text that stands in the place of a number or a switch; None if nobody can know."""
    if kind == "bool_type":
        return {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}.get(
            text.lower()
        )
    try:
        number = float(text)
    except ValueError:
        return None
    if kind == "float_type" and math.isfinite(number):
        return repr(number)
    return str(int(number)) if kind == "int_type" and number.is_integer() else None
