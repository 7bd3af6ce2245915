"""Pages of the documentation, and the parts of them that commands write: `make pages`, `make bench`."""

from __future__ import annotations

from pathlib import Path

from tests.support.paths import ROOT

FIGURES = ROOT / "tests" / "benchmarks" / "README.md"
"""Where the figures of `make bench` and of the comparison with other programs stand."""


def between(text: str, mark: str, new: str) -> str:
    """`text` with what is between `<!-- mark -->` and `<!-- /mark -->` replaced; raises ValueError without them."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    head, opened, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not opened or not closed:
        raise ValueError(f"no lines {begin} and {end}, in this order, to write between")
    return f"{head}{begin}\n{new.strip()}\n{end}{tail}"


def write_between(page: Path, mark: str, new: str) -> None:
    """Replace what is between the marks on a page; the rest of it stays as it is."""
    page.write_text(between(page.read_text(encoding="utf-8"), mark, new), encoding="utf-8")


def made() -> dict[Path, str]:
    """What stands between the marks `settings` on each page that has them."""
    from contraband.commands.settings import markdown
    from contraband.experiments.params import Params
    from contraband.experiments.study.settings import StudySettings
    from contraband.volumes.settings import VolumeSettings

    return {
        ROOT / "configs" / "README.md": markdown(VolumeSettings),
        ROOT / "experiments" / "SETTINGS.md": markdown(Params),
        ROOT / "experiments" / "STUDIES.md": markdown(StudySettings),
    }


if __name__ == "__main__":
    for page, tables in made().items():
        write_between(page, "settings", tables)
