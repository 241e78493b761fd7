"""Typed sections of `params.yaml`.

Each section has one frozen, strict pydantic class beside the code that uses it. Strict means: a misspelt key, a missing
key, or text in place of a number is an error. Its message names the section, the key and what to write.

`ruamel.yaml` reads the files, as in DVC, so both see the same values.
"""

import difflib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self, cast, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from drum_crnn.foundation.errors import DrumCrnnError, refused_error

__all__ = ["PARAMS_FILE", "Effect", "ParamsSection", "StrictModel", "read_yaml"]

PARAMS_FILE = Path("params.yaml")


class StrictModel(BaseModel):
    """A frozen group of parameters. It has no default values: `params.yaml` is the only place for values."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def check(cls, values: Any, *, source: str) -> Self:
        """Validate values, as parsed from YAML or JSON.

        Parameters
        ----------
        source : str
            Their place, such as "params.yaml: train"; every line of an error message begins with it.

        Raises
        ------
        DrumCrnnError
            If a key is missing or unknown, or a value is of the wrong type or out of range. Every fault is listed.
        """
        try:
            # Strict JSON mode accepts a list for a tuple; YAML has no tuples. Values that JSON does not know, such as
            # dates, become text, which is refused in place of a number.
            text = json.dumps({} if values is None else values, default=str)
        except (TypeError, ValueError):
            raise DrumCrnnError(f"{source}: holds a key that is not text, or a group that contains itself") from None
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            faults = [_describe(cls, fault) for fault in error.errors()]
            raise DrumCrnnError(*(f"{source}{fault}" for fault in faults)) from None


class Effect(StrictModel):
    """An effect: a switch, a probability, and the range from which its amount is drawn evenly."""

    enabled: bool
    probability: float = Field(ge=0, le=1)
    range: tuple[float, float]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.range[0] > self.range[1]:
            raise ValueError("range must be [low, high]")
        return self

    def draw(self, rng: np.random.Generator) -> float | None:
        """Draw the amount; None if the effect does not act. Both cases draw two numbers from `rng`."""
        acts = rng.random() < self.probability
        amount = rng.uniform(*self.range)
        return amount if self.enabled and acts else None


class ParamsSection(StrictModel):
    """A top-level section of `params.yaml`; `section` is its name."""

    section: ClassVar[str]

    @classmethod
    def load(cls, path: Path = PARAMS_FILE) -> Self:
        """Read and check this section of the file.

        Raises
        ------
        DrumCrnnError
            If the file cannot be read, or the section is missing or wrong. Every fault of the section is listed.
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
    """Read a YAML file of keys with values.

    Parameters
    ----------
    keep_comments : bool
        Keep comments, quotation marks and the form of numbers, so that `ruamel.yaml` can write the file again.

    Raises
    ------
    DrumCrnnError
        If the file is missing, is not valid YAML (such as with a key twice), or holds no keys.
    """
    from ruamel.yaml import YAML  # here, since `drum-crnn --help` reads no file
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="rt" if keep_comments else "safe")
    yaml.preserve_quotes = True
    try:
        document = yaml.load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DrumCrnnError(f"{path}: there is no such file; run from the project's root or name it") from None
    except OSError as error:
        raise refused_error(path, error) from None
    except UnicodeDecodeError as error:
        raise DrumCrnnError(f"{path}: cannot be read: {error}; save it as UTF-8") from None
    except MarkedYAMLError as error:
        problem, _, _ = str(error.problem).partition(
            " with value "
        )  # shortens the message for a key that is there twice
        mark = error.problem_mark or error.context_mark
        place = path if mark is None else f"{path}:{mark.line + 1}"
        raise DrumCrnnError(f"{place}: is not valid YAML: {problem}") from None
    except (YAMLError, ValueError) as error:  # ValueError: a date such as the 32nd of a month
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
    if kind == "value_error":  # from a validator of ours, whose message is complete
        return f"{path}: {fault['msg'].removeprefix('Value error, ')}"
    if isinstance(value, str) and (meant := _meant(kind, value)) is not None:
        return f"{path}: '{value}' is text; write {meant} without quotation marks"
    return f"{path}: {fault['msg']} (found {json.dumps(value, default=str)[:80]})"


def _walk(model: type[BaseModel], location: Iterable[str | int]) -> tuple[str, type[BaseModel] | None]:
    """A location as `.key[index]`, and the group of parameters there, if it is one.

    Pydantic also names the member of a union that it tried ("int", "literal['auto']"). This is not a key, and left out.
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
    """The value that was meant by text in place of a number or a switch; None if it is not clear."""
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
