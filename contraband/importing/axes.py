"""Which stored axis is which, and what of each is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockwise.arrays.space import SPATIAL, is_unnamed
from blockwise.errors import BadInput
from contraband.importing.options import ImportOptions
from contraband.importing.source import ForeignArray

USUAL = {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}
MAX_CHANNELS = 64
DROPPED = "-"
"""Stands for an axis of length 1 that has no letter."""


@dataclass(frozen=True)
class StoredAxes:
    """The stored axes by letter, and what is taken along each."""

    axes: str
    """A letter of `tczyx` per stored axis, slowest first; `-` for one of length 1 that is none of them."""
    said: str
    """Who says so, for the user."""
    spans: Mapping[str, tuple[int, int]]
    """Begin and end along z, y, x, and 0 and 1 where there is no such axis."""
    time: int = 0
    channels: tuple[int, ...] | None = None
    """The channels that are taken, in this order; None if the result has no channel axis."""
    first_channel: int = 0
    """The channel that is taken if the result has no channel axis."""

    @property
    def stored(self) -> str:
        """The letters without the axes that have none."""
        return self.axes.replace(DROPPED, "")


def select(path: Path, source: ForeignArray, options: ImportOptions) -> StoredAxes:
    """What is taken of an array; raises BadInput naming the axes if that is not clear."""
    if min(source.shape, default=0) < 1:
        raise BadInput(path, "wrong number of axes", got=source.shape, wanted="2 axes or more, none of them empty")
    axes, said, is_named = _letters(path, source, options)
    sizes = dict(zip(axes, source.shape, strict=True))
    crop = parse_crop(options.crop, {axis: sizes.get(axis, 1) for axis in SPATIAL} | _others(sizes))
    named = "".join(axes), source.shape
    time = _one_time(path, sizes.get("t", 1), options.time, crop.get("t"), named)
    meant = options.quantise or options.offsets is not None or "offsets" in source.attributes
    wanted = options.channel or (tuple(range(*crop["c"])) if "c" in crop and _crops(options.crop, "c") else None)
    is_clear = meant or not is_named or options.axes is not None
    channels = _channels(path, sizes.get("c"), wanted, is_clear, named)
    is_affinity = options.quantise or options.offsets is not None or (meant and wanted is None)
    keeps = len(channels) > 1 or ("c" in sizes and is_affinity)
    spans = {axis: crop[axis] for axis in SPATIAL}
    return StoredAxes("".join(axes), said, spans, time, channels if keeps else None, channels[0])


def channels_in(path: Path, source: ForeignArray, options: ImportOptions) -> int:
    """How many channels an array has; raises BadInput naming the axes if that is not clear."""
    letters, _, _ = _letters(path, source, options)
    return dict(zip(letters, source.shape, strict=True)).get("c", 1)


def _letters(path: Path, source: ForeignArray, options: ImportOptions) -> tuple[list[str], str, bool]:
    """A letter per stored axis, who says so, and whether that is the file."""
    shape = source.shape
    if options.axes is not None:
        return _given(path, shape, options.axes), "as --axes says", True
    said = source.space.axes
    letters = source.space.letters(len(shape))
    unnamed = 0 if letters is None or said is None else sum(is_unnamed(name) for name in said.value)
    if letters is None or said is None or unnamed == len(shape) - 2 > 1:
        return _usual(path, shape), "assumed: the file says nothing", False
    if not {"y", "x"} <= set(letters):
        raise BadInput(
            path,
            "which axes are z, y, x is not clear",
            got=f"{_shown(said.value, shape)} from {said.where}",
            wanted="y and x, and z where there is one",
            todo="give --axes",
        )
    found = _named(path, source, letters)
    return found, f"from {said.where}" + (", z assumed" if "z" in found and "z" not in letters else ""), True


def _given(path: Path, shape: Sequence[int], axes: str) -> list[str]:
    """The letters of `--axes`, which may leave out axes of length 1."""
    if len(axes) == len(shape):
        return list(axes)
    longer = [size > 1 for size in shape]
    if len(axes) != sum(longer):
        raise BadInput(
            "--axes",
            f"one letter per axis of {path} is needed",
            got=f"{axes} for {tuple(shape)}",
            wanted=f"such as {USUAL.get(len(shape), 'tczyx')}",
        )
    left = iter(axes)
    return [next(left) if is_long else DROPPED for is_long in longer]


def _named(path: Path, source: ForeignArray, letters: Sequence[str | None]) -> list[str]:
    """The letters that a file gives; an axis it has no name for may only be z, or of length 1."""
    shape = source.shape
    names = source.space.axes.value if source.space.axes else ()
    result: list[str] = []
    for number, (letter, size) in enumerate(zip(letters, shape, strict=True)):
        doubled = letter is not None and (letter in result or letter in letters[number + 1 :])
        if (letter is None or doubled) and size == 1:
            result.append(DROPPED)
        elif is_unnamed(names[number]) and letters.count(None) == 1 and "z" not in letters:
            result.append("z")
        elif letter is None or (doubled and letter in result):
            raise BadInput(
                path,
                "has an axis that is not known here",
                got=_shown(names, shape),
                wanted="t, c, z, y, x, each once",
                todo="give --axes, or save the part that is meant",
            )
        else:
            result.append(letter)
    return result


def _usual(path: Path, shape: tuple[int, ...]) -> list[str]:
    """The axes of an array whose file says nothing; raises BadInput where they look like others."""
    first, last = 0, len(shape)
    while last - first > 3 and shape[last - 1] == 1:
        last -= 1
    while last - first > 3 and shape[first] == 1 and (last - first > 4 or last < len(shape)):
        first += 1
    kept = shape[first:last]
    if len(kept) not in USUAL:
        raise BadInput(path, "wrong number of axes", got=shape, wanted="2 to 5 axes", todo="give --axes")
    if len(kept) >= 3 and kept[-1] <= 4 < min(kept[-3:-1]):
        usual = USUAL[len(kept)]
        coloured = {3: "yxc", 4: "zyxc", 5: "tzyxc"}[len(kept)]
        raise BadInput(
            path,
            "the last axis looks like colours",
            got=shape,
            wanted=f"({', '.join(usual)})",
            todo=f"use --axes {coloured}, or --axes {usual} if it is right",
        )
    return [DROPPED] * first + list(USUAL[len(kept)]) + [DROPPED] * (len(shape) - last)


def _one_time(
    path: Path, count: int, asked: int | None, span: tuple[int, int] | None, named: tuple[str, object]
) -> int:
    """The time point that is taken."""
    if asked is None and span is not None and span[1] - span[0] == 1:
        asked = span[0]
    if asked is None and count > 1:
        raise BadInput(
            path,
            f"has {count} time points",
            got=_axes_and_shape(*named),
            wanted="one",
            todo="choose it by --time 0" + ("" if "z" in named[0] else ", or say --axes zyx if they are sections"),
        )
    if asked is not None and asked >= count:
        raise BadInput("--time", "no such time point", got=asked, wanted=f"0 to {count - 1}")
    return asked or 0


def _channels(
    path: Path, count: int | None, wanted: tuple[int, ...] | None, is_clear: bool, named: tuple[str, object]
) -> tuple[int, ...]:
    """The channels that are taken; at least one."""
    many = count or 1
    if wanted is not None and max(wanted) >= many:
        raise BadInput("--channel", "no such channel", got=max(wanted), wanted=f"0 to {many - 1}")
    if wanted is not None:
        return wanted
    if many > 1 and not is_clear:
        raise BadInput(
            path,
            f"has {many} channels",
            got=_axes_and_shape(*named),
            wanted="one, or several that are named",
            todo=f"choose by --channel 0 or --channel 0,1; take all by --axes {named[0].replace(DROPPED, '')}"
            + ("" if "z" in named[0] else ", or say --axes zyx if they are sections"),
        )
    if many > MAX_CHANNELS:
        raise BadInput(
            path,
            f"axis c of {named[0]} looks like a spatial one",
            got=named[1],
            wanted=f"at most {MAX_CHANNELS} channels",
            todo="correct --axes",
        )
    return tuple(range(many))


def parse_crop(text: str | None, sizes: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """{axis: (begin, end)} for each axis from `z=0:125,y=10:`; raises BadInput for a part outside the array."""
    result = {axis: (0, size) for axis, size in sizes.items()}
    for term in text.split(",") if text else ():
        axis, _, span = term.strip().partition("=")
        begin, colon, end = span.partition(":")
        numbers = all(not number or number.isdecimal() for number in (begin, end))
        if axis not in sizes or not colon or not numbers:
            raise BadInput("--crop", f"is not a part of {', '.join(sizes)}", got=term, wanted="such as z=0:125,y=10:")
        result[axis] = (int(begin or 0), int(end or sizes[axis]))
        if not 0 <= result[axis][0] < result[axis][1] <= sizes[axis]:
            raise BadInput("--crop", f"lies outside the {sizes[axis]} voxels along {axis}", got=term)
    return result


def _others(sizes: Mapping[str, int]) -> dict[str, int]:
    return {axis: sizes[axis] for axis in "ct" if axis in sizes}


def _crops(text: str | None, axis: str) -> bool:
    return any(term.strip().startswith(f"{axis}=") for term in (text or "").split(","))


def _axes_and_shape(axes: str, shape: object) -> str:
    return f"axes {axes.replace(DROPPED, '')} of {shape}"


def _shown(names: Sequence[object], shape: Sequence[int]) -> str:
    return ", ".join(f"{name or 'an axis without a name'} {size}" for name, size in zip(names, shape, strict=True))
