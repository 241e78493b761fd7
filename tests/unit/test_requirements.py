"""requirements.lock pins what pyproject.toml asks for, and speaks of no place where packages come from."""

import re
import tomllib
from itertools import chain

import pytest
from first_party import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ASKED = sorted({*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())})
PINS = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]


def test_a_line_is_a_name_a_version_and_where_it_is_needed() -> None:
    for line in PINS:
        pin, _, marker = line.partition(" ; ")
        assert re.fullmatch(r"[a-z0-9-]+==[a-z0-9.]+", pin), line
        assert not re.search(r"[/\\@:]|--", marker), line
        Requirement(line)


def test_there_is_one_version_for_all_pythons_and_systems() -> None:
    names = [line.partition("==")[0] for line in PINS]
    assert names == sorted(set(names))


@pytest.mark.parametrize("text", ASKED)
def test_every_direct_dependency_is_pinned_within_its_bounds(text: str) -> None:
    asked = Requirement(text)
    (pin,) = (found for found in map(Requirement, PINS) if found.name == canonicalize_name(asked.name))
    (version,) = pin.specifier
    assert version.operator == "=="
    assert asked.specifier.contains(version.version)
    assert str(pin.marker) == str(asked.marker), "it is not pinned everywhere where it is asked for"
