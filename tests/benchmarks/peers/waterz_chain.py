"""waterz on a volume in memory, its own watershed included; runs in the environment of the peers.

`python waterz_chain.py AFFINITIES OUTPUT` reads stored uint8 affinities and writes OUTPUT/segments.npy. It prints the
CPU seconds of waterz alone, without reading, conversion and writing.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import waterz
import zarr

THRESHOLD = 0.5


def segment(affinities: Path, output: Path) -> float:
    """Write the segments; CPU seconds of waterz itself."""
    scaled = zarr.open_array(affinities, mode="r")[:].astype(np.float32)
    scaled /= 255
    begin = time.process_time()
    segments = next(waterz.agglomerate(scaled, thresholds=[1 - THRESHOLD])).copy()
    seconds = time.process_time() - begin
    output.mkdir(parents=True, exist_ok=True)
    np.save(output / "segments.npy", segments)
    return seconds


if __name__ == "__main__":
    print(segment(Path(sys.argv[1]), Path(sys.argv[2])))
