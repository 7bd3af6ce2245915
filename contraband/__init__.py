"""Contrastive representation learning and few-shot segmentation for biological image volumes.

    import contraband as cb
    settings = cb.load_settings("vol.yaml")
    cb.run(settings)
    result = cb.open_result(settings)

The names below are what the commands of `contraband` call, and are loaded when they are first used. `help(cb.run)` and
the like say what each takes, gives and raises.
"""

TYPE_CHECKING = False  # as type checkers know it, without the time that it takes to import typing
if TYPE_CHECKING:
    from blockwise.errors import BadInput, Stale, WorkFailed
    from contraband.interface import (
        evaluate,
        export,
        import_file,
        load_settings,
        open_result,
        plan,
        predict,
        run,
        status,
        train,
    )
    from contraband.volumes.offered import correct, objects
    from contraband.volumes.result import Result
    from contraband.volumes.settings import VolumeSettings

    __version__: str

__all__ = [
    "BadInput",
    "Result",
    "Stale",
    "VolumeSettings",
    "WorkFailed",
    "correct",
    "evaluate",
    "export",
    "import_file",
    "load_settings",
    "objects",
    "open_result",
    "plan",
    "predict",
    "run",
    "status",
    "train",
]

_HOMES = {
    "blockwise.errors": ("BadInput", "Stale", "WorkFailed"),
    "contraband.interface": (
        "evaluate",
        "export",
        "import_file",
        "load_settings",
        "open_result",
        "plan",
        "predict",
        "run",
        "status",
        "train",
    ),
    "contraband.volumes.offered": ("correct", "objects"),
    "contraband.volumes.result": ("Result",),
    "contraband.volumes.settings": ("VolumeSettings",),
}

if not TYPE_CHECKING:  # else a type checker would take any name for one of these
    from blockwise.names import lazily

    _load, __dir__ = lazily(__name__, _HOMES)

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from contraband.volumes.version import version

            return version()
        return _load(name)
