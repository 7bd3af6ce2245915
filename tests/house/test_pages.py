"""The pages that people read: short where they should be, no dead link, every command and key, and true commands."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from blockwise.stages import tables
from blockwise.store.table import Table
from contraband.cli import call
from tests.house.sources import tracked
from tests.support.pages import between, made
from tests.support.paths import ROOT

PAGES = [name for name in tracked() if name.endswith(".md")]
COMMANDS_PAGE = "configs/README.md"
README_LINES = 80
PICTURE_BYTES = 150_000

RUN_ELSEWHERE = {
    "make demo": "minutes: tests/contraband/demo tests its parts; the project is not released without a run of it",
    "make test": "this very run",
}
"""Commands of the README that no test here runs, and why."""

SERVED = {
    "contraband label vol.yaml": "tests/end_to_end/test_labelling.py",
    "contraband view vol.yaml": "tests/contraband/volumes/view/test_browser.py",
    "contraband dashboard vol.yaml": "tests/contraband/volumes/monitor/test_page.py",
}
"""Commands of the README that serve a page until they are interrupted, and the tests that drive these in a browser."""


def text_of(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def fenced(text: str, language: str = "") -> list[str]:
    """The blocks of code of a language in a page."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [code for name, code in blocks if name == language]


def anchors(text: str) -> set[str]:
    """What links to a heading of the page may be called, as GitHub calls them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_one_screen():
    """The README has at most 80 lines."""
    assert len(text_of("README.md").splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_what_is_there(page):
    """Each relative link of a page, and each picture, leads to a tracked file or folder, and to a heading in it."""
    text = re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        name = target.resolve().relative_to(ROOT).as_posix()
        assert any(known == name or known.startswith(f"{name}/") for known in tracked()), f"{page}: {link}"
        assert not heading or heading in anchors(target.read_text(encoding="utf-8")), f"{page}: {link}"


def test_the_picture_is_small():
    """Every picture that a page shows has less than 150 kB."""
    shown = [(page, path) for page in PAGES for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text_of(page))]
    assert shown
    assert all(((ROOT / page).parent / path).stat().st_size < PICTURE_BYTES for page, path in shown)


@pytest.mark.parametrize("word", [COMMANDS_PAGE, "--help"])
def test_every_command_is_documented(word):
    """Each command has a line in the table of commands, and its help shows an example of it."""
    commands = typer_commands()
    assert commands
    if word == "--help":
        assert not [name for name, command in commands.items() if f"contraband {name}" not in help_of(command)]
    else:
        assert re.findall(r"^\| `contraband ([\w-]+)` \| \S", text_of(word), re.MULTILINE) == list(commands)
        assert f"({word})" in text_of("README.md")


@pytest.mark.parametrize("page", made(), ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_of_keys_are_current(page):
    """What a page says of the keys of a settings file is what the classes say; `make pages` writes it."""
    text = page.read_text(encoding="utf-8")
    assert between(text, "settings", made()[page]) == text, "run `make pages`"


def test_every_table_is_described():
    """Each table that stages hand on through the store has a row in ARCHITECTURE.md."""
    every = [value for value in vars(tables).values() if isinstance(value, Table)]
    every += [made(1) for made in (tables.shared_of, tables.united_of, tables.named_of, tables.merges_of)]
    every += [*tables.rest_of(1), *tables.HANDED_ON]
    every += [
        made("segment/<t>") for made in (tables.segments_of, tables.became_of, tables.begins_of, tables.numbers_of)
    ]
    every.append(Table(tables.objects_of(0).kind.replace("0", "<place>"), tables.OVERLAP, tables.SCORED))
    kinds = {table.kind.removeprefix(f"{tables.BOXES}: ").replace(" 1", " <level>") for table in every}
    rows = re.findall(r"^\| (`[^|]+) \|", text_of("ARCHITECTURE.md").partition("## Tables")[2], re.MULTILINE)
    assert kinds == {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_make_targets_that_pages_name_exist():
    """Each `make TARGET` on a page is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"(?:^|`)make ([a-z]+)", text_of(page), re.MULTILINE)}
    assert {"demo", "test", "pages"} <= named <= targets


def test_commands_of_the_readme_are_run():
    """Each shell command of the README is run by a test below, or a reason is given here why it is not."""
    commands = [line.partition("#")[0].strip() for block in fenced(text_of("README.md")) for line in block.splitlines()]
    inline = re.findall(r"`(contraband [^`]+)`", text_of("README.md"))
    assert {*commands} == {*RUN_ELSEWHERE}
    assert set(inline) == {"contraband run vol.yaml", "contraband plan vol.yaml", *SERVED}
    assert all((ROOT / test).is_file() for test in SERVED.values())


def test_make_help_lists_every_target():
    """`make help`, which needs no environment, names the two commands of the README and all others."""
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"make ([a-z]+)", listed)) >= {"demo", "test", "setup", "check", "pages", "picture"}


def test_the_volume_of_the_readme_runs(in_tmp: Path, capsys):
    """The VOLUME.yaml of the README, affinities given and in this process, is planned and run by the commands there."""
    from tests.support.volumes import cells, store_volume

    affinities, labels = cells((12, 20, 24))
    store_volume(in_tmp / "data" / "vol.zarr" / "raw", labels.astype("uint8"))
    store_volume(in_tmp / "data" / "vol.zarr" / "labels", labels)
    store_volume(in_tmp / "data" / "vol.zarr" / "affs", affinities)
    (block,) = fenced(text_of("README.md"), "yaml")
    settings = yaml.safe_load(block)
    assert len(block.splitlines()) <= 10
    assert settings.pop("model") == {"checkpoint": "experiments/.../checkpoints"}
    (in_tmp / "vol.yaml").write_text(
        yaml.safe_dump(settings | {"affinities": "data/vol.zarr/affs", "cluster": {"kind": "none"}})
    )
    for command in re.findall(r"`(contraband [^`]+)`", text_of("README.md")):
        assert command in SERVED or call(shlex.split(command)[1:]) == 0
    assert (in_tmp / settings["output"] / "evaluation.json").exists()
    assert "evaluate" in capsys.readouterr().out


def typer_commands() -> dict[str, object]:
    """Every command of `contraband` that is not hidden."""
    from contraband.cli import app

    group = typer.main.get_command(app)
    return {name: command for name, command in group.commands.items() if not command.hidden}


def help_of(command) -> str:
    """All text of a command's help."""
    return " ".join(filter(None, [command.help, command.epilog, command.short_help]))
