"""SWC files as programs write them: several neurons in one, headers that move the nodes, any encoding."""

from __future__ import annotations

import codecs
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockwise.errors import BadInput

if TYPE_CHECKING:
    import networkx

_HEADER = re.compile(r"#\s*(OFFSET|SCALE)[\s:=]+(.+)", re.IGNORECASE)


@dataclass
class _Points:
    """One of the neurons in a file, whose ids count from the start."""

    number: int
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Along x, y, z; the offset is added to what this gives."""
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    lines: dict[int, int] = field(default_factory=dict)
    """Where each id stands."""
    parents: list[tuple[int, int]] = field(default_factory=list)
    """Id and parent of each node that may have one."""


def read_swc(path: Path) -> networkx.Graph[Any]:
    """Nodes (points, id) with z, y, x from lines of `id type x y z radius parent`; a parent of -1 is none, nor is 0.

    Where an id comes again as a root, another neuron begins, as in files that were put one behind the other.
    `# SCALE x y z` and `# OFFSET x y z` hold for the nodes below, to the end of the neuron or the next such header.
    Raises BadInput for an id given twice, or a parent that is no node.
    """
    import networkx

    graph: networkx.Graph[Any] = networkx.Graph()
    points = _Points(0)
    headers: dict[str, tuple[float, float, float]] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        where = f"{path}, line {number}"
        if header := _HEADER.match(line.strip()):
            headers |= _moved(header.group(1).lower(), header.group(2))
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        node, parent, (x, y, z) = _row(fields, where)
        if node in points.lines:
            if parent > 0 and parent != node:
                raise BadInput(
                    where, f"node {node} is given twice", got=f"also in line {points.lines[node]}", wanted="once"
                )
            _join(graph, points, path)
            points = _Points(points.number + 1)
        points.scale = headers.get("scale", points.scale)
        points.offset = headers.get("offset", points.offset)
        headers = {}
        points.lines[node] = number
        x, y, z = (at * size + begin for at, size, begin in zip((x, y, z), points.scale, points.offset, strict=True))
        graph.add_node((points.number, node), z=z, y=y, x=x)
        points.parents.append((node, parent))
    _join(graph, points, path)
    return graph


def _join(graph: networkx.Graph[Any], points: _Points, path: Path) -> None:
    """Add the edges of a neuron whose nodes are known."""
    for node, parent in points.parents:
        if parent in points.lines:
            graph.add_edge((points.number, node), (points.number, parent))
        elif parent > 0:
            where = f"{path}, line {points.lines[node]}"
            raise BadInput(where, f"parent {parent} of node {node} is no node", got=parent, wanted="an id, or -1")


def _row(fields: list[str], where: str) -> tuple[int, int, tuple[float, float, float]]:
    if len(fields) < 7:
        raise BadInput(where, "has too few columns", got=len(fields), wanted="7, with blanks or tabs between them")
    try:
        node, parent = (float(fields[column]) for column in (0, 6))
        x, y, z = (float(value) for value in fields[2:5])
    except ValueError:
        raise BadInput(
            where, "is no row of numbers", got=" ".join(fields[:7]), wanted="id type x y z radius parent"
        ) from None
    if not all(map(math.isfinite, (x, y, z))):
        raise BadInput(where, f"node {fields[0]} has no place", got=", ".join(fields[2:5]), wanted="numbers x, y and z")
    if not (node.is_integer() and parent.is_integer()):
        raise BadInput(where, "an id is no whole number", got=f"{fields[0]}, {fields[6]}", wanted="such as 7")
    return int(node), int(parent), (x, y, z)


def _moved(name: str, text: str) -> dict[str, tuple[float, float, float]]:
    """What a header says; nothing where no three numbers follow."""
    try:
        x, y, z = (float(value) for value in text.replace(",", " ").split()[:3])
    except ValueError:
        return {}
    return {name: (x, y, z)}


def _text(path: Path) -> str:
    """The file as text: only comments hold anything but ASCII, and these may be of any program."""
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        raise BadInput(path, "is packed by gzip", todo="unpack it first")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
