"""The types of values in settings: each is checked, and read from what a file says, by its type and nowhere else."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
)

from blockwise.files.address import Address, address_in, place_of

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]

MOST_BYTES = 2**60
"""An amount of memory is less: more than any machine has, so it is a slip."""

_UNITS = (("GiB", 2**30), ("GB", 10**9), ("MiB", 2**20), ("MB", 10**6), ("KiB", 2**10), ("kB", 10**3), ("B", 1))

_AMOUNT = re.compile(r"\s*[\d.]+\s*[A-Za-z]+\s*|\s*\d+\s*")
"""Pydantic would take "8 GB more" for 8 GB."""
_VARIABLES = re.compile(r"\$(?:\{([^{}]*)\}|([A-Za-z_]\w*))")
_IN_BRACES = re.compile(r"\$\{([^{}]*)\}")


def with_variables(text: str, bare: bool = True) -> str:
    """The text with the values of ${NAME}, and of $NAME unless `bare` is false, from the environment.

    Raises ValueError naming a variable that is not set: a new folder called ${NAME} is never what is meant.
    """

    def value(match: re.Match[str]) -> str:
        name = next(group for group in match.groups() if group is not None)
        if name not in os.environ:
            raise ValueError(f"there is no variable {name} in the environment for {match.group()}")
        return os.environ[name]

    return (_VARIABLES if bare else _IN_BRACES).sub(value, text)


def expanded(path: Path) -> Path:
    """The path with ~ and ${NAME} replaced, or as it is if only a file or folder of this very name is there.

    Raises ValueError where it cannot be replaced, and where both are there.
    """
    if not (marked := [number for number, name in enumerate(path.parts) if _is_marked(number, name)]):
        return path
    count = marked[-1] + 1
    try:
        meant = _replaced(path)
        begin = _replaced(Path(*path.parts[:count]))
    except ValueError as error:
        if _is_there(path, count):
            return path
        raise ValueError(f"{error}, and no {Path(*path.parts[:count])} here") from None
    is_meant, is_named = os.path.exists(meant), _is_there(path)
    if is_meant and is_named and not meant.samefile(path):
        raise ValueError(f"may be {path} here or {meant}, and both are there: rename the one that is not meant")
    if is_named and not is_meant:
        return path
    is_of_a_folder = not is_meant and _is_there(path, count) and not os.path.exists(begin)
    return path if is_of_a_folder else meant


def _is_marked(number: int, name: str) -> bool:
    return (number == 0 and name.startswith("~")) or _VARIABLES.search(name) is not None


def _is_there(path: Path, count: int | None = None) -> bool:
    """Whether what the path says, or its first `count` folders, is there under just this name; no address is."""
    return address_in(path) is None and os.path.exists(Path(*path.parts[:count]))


def _replaced(path: Path) -> Path:
    try:
        return Path(with_variables(str(path))).expanduser()
    except RuntimeError:
        raise ValueError(f"there is no home folder for {path.parts[0]}") from None


def _fit_for_a_file(path: Path) -> Path:
    place = place_of(path)
    if isinstance(place, Address):
        raise ValueError(f"{place} is an address, and this must be on a local disk: download it first")
    return _fit(place)


def _fit(path: Path) -> Path:
    if not path.name or any(ord(letter) < 32 for letter in str(path)):
        raise ValueError("is not the path of a file or folder")
    return expanded(path)


def _fit_for_a_volume(path: Path) -> Path:
    return place_of(_fit(path))


Place = Annotated[Path, AfterValidator(_fit_for_a_file)]
"""Where a file or folder is: relative to the working folder, with ~ and ${NAME}, unless one is there of that name."""


VolumePlace = Annotated[Path, AfterValidator(_fit_for_a_volume)]
"""Where a volume is: a path as all are, or an address, `s3://BUCKET/...`, `gs://`, `az://`, or `http(s)://` to read."""


def _one_or_several(value: object) -> object:
    named = value if isinstance(value, list | tuple) else [value]
    if not named or not all(isinstance(one, str | Path) for one in named):
        raise ValueError("is neither a path nor a list of paths")
    return tuple(value) if isinstance(value, list) else value


def _each_fit_for_a_file(paths: Path | tuple[Path, ...]) -> Path | tuple[Path, ...]:
    return tuple(map(_fit_for_a_file, paths)) if isinstance(paths, tuple) else _fit_for_a_file(paths)


SomePlaces = Annotated[Path | tuple[Path, ...], BeforeValidator(_one_or_several), AfterValidator(_each_fit_for_a_file)]
"""One place, or several that are meant together."""


PlaceText = Annotated[str, AfterValidator(lambda text: str(_fit_for_a_file(Path(text))))]
"""A place, as text."""


def _as_text(value: object) -> object:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else value


Text = Annotated[str, BeforeValidator(_as_text)]
"""A text that may look like a number, such as an account, so that quotes may be left out."""


def _time_of_a_job(value: object) -> object:
    if isinstance(value, int | float):
        raise ValueError('a time needs hours, minutes and seconds, as in "04:00:00": batch systems differ on numbers')
    return value


Walltime = Annotated[str, BeforeValidator(_time_of_a_job)]
"""The longest time of a job, as the batch system wants it."""


def bytes_of(amount: object, info: ValidationInfo) -> ByteSize:
    """The bytes that a text such as "8GB" means; a number is taken as bytes, but not from a file. Raises ValueError.

    Few of those who write 8 into a file mean bytes.
    """
    is_number = isinstance(amount, int) and not isinstance(amount, bool) and info.mode == "python"
    is_text = isinstance(amount, str) and _AMOUNT.fullmatch(amount) is not None
    try:
        size = int(_bytes().validate_python(amount)) if is_number or is_text else 0
    except ValueError:
        size = 0
    if not 0 < size < MOST_BYTES:
        raise ValueError('is not an amount of memory, such as "8GB"')
    return ByteSize(size)


@cache
def _bytes() -> TypeAdapter[ByteSize]:
    return TypeAdapter(ByteSize)


def written(amount: int) -> str:
    """The bytes as a file has them, in the largest unit of which they are a whole number: "8GB"."""
    unit, size = next((unit, size) for unit, size in _UNITS if amount % size == 0)
    return f"{amount // size}{unit}"


Memory = Annotated[
    ByteSize,
    PlainValidator(bytes_of, json_schema_input_type=str),
    PlainSerializer(written, return_type=str, when_used="json"),
]
"""An amount of memory in bytes, in a file a text with a unit, such as "8GB"."""


def _bytes_or_auto(amount: object, info: ValidationInfo) -> ByteSize | Literal["auto"]:
    return "auto" if amount == "auto" else bytes_of(amount, info)


MemoryLimit = Annotated[
    ByteSize | Literal["auto"],
    PlainValidator(_bytes_or_auto, json_schema_input_type=str),
    PlainSerializer(lambda value: value if value == "auto" else written(value), return_type=str, when_used="json"),
]
"""The same, or `auto`: one field and no union, whose members an error would name."""


def _voxels_or_auto(shape: object) -> tuple[int, int, int] | Literal["auto"]:
    if shape == "auto":
        return "auto"
    numbers = list(shape) if isinstance(shape, list | tuple) else []
    if len(numbers) != 3 or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers):
        raise ValueError("must be auto, or three whole numbers above 0, voxels along z, y, x")
    return numbers[0], numbers[1], numbers[2]


TileShape = Annotated[
    Literal["auto"] | tuple[Positive, Positive, Positive],
    PlainValidator(_voxels_or_auto, json_schema_input_type=Literal["auto"] | tuple[Positive, Positive, Positive]),
]
"""Voxels along z, y, x, or `auto`; one field, too."""
