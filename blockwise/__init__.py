"""Exact blockwise processing of image volumes: schedule, run, remember, segment, evaluate.

What a stage of one's own needs can be had from here, as in `import blockwise as bw`; `blockwise/README.md` shows how.
Each name is loaded when it is first used, so that importing the package costs nothing.
"""

TYPE_CHECKING = False  # as type checkers know it, without the time that it takes to import typing
if TYPE_CHECKING:
    from funlib.geometry import Roi

    from blockwise.arrays.info import Info
    from blockwise.arrays.volume import Volume, create, info, read, write
    from blockwise.cluster.open import open_cluster
    from blockwise.cluster.settings import Cluster
    from blockwise.engine.options import RunOptions, StageResult
    from blockwise.engine.run import run_stages
    from blockwise.errors import BadInput, BlockwiseError, Stale, WorkFailed
    from blockwise.executor.inprocess import InProcess
    from blockwise.executor.ondask.executor import OnDask
    from blockwise.grid import Block, Grid, Voxels
    from blockwise.stage import Overlapping, Stage
    from blockwise.store import Store, open_store

__all__ = [
    "BadInput",
    "Block",
    "BlockwiseError",
    "Cluster",
    "Grid",
    "InProcess",
    "Info",
    "OnDask",
    "Overlapping",
    "Roi",
    "RunOptions",
    "Stage",
    "StageResult",
    "Stale",
    "Store",
    "Volume",
    "Voxels",
    "WorkFailed",
    "create",
    "info",
    "open_cluster",
    "open_store",
    "read",
    "run_stages",
    "write",
]

_HOMES = {
    "blockwise.arrays.info": ("Info",),
    "blockwise.arrays.volume": ("Volume", "create", "info", "read", "write"),
    "blockwise.cluster.open": ("open_cluster",),
    "blockwise.cluster.settings": ("Cluster",),
    "blockwise.engine.options": ("RunOptions", "StageResult"),
    "blockwise.engine.run": ("run_stages",),
    "blockwise.errors": ("BadInput", "BlockwiseError", "Stale", "WorkFailed"),
    "blockwise.executor.inprocess": ("InProcess",),
    "blockwise.executor.ondask.executor": ("OnDask",),
    "blockwise.grid": ("Block", "Grid", "Voxels"),
    "blockwise.stage": ("Overlapping", "Stage"),
    "blockwise.store": ("Store", "open_store"),
    "funlib.geometry": ("Roi",),
}

if not TYPE_CHECKING:  # else a type checker would take any name for one of these
    from blockwise.names import lazily

    __getattr__, __dir__ = lazily(__name__, _HOMES)
