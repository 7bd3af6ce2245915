"""What people write into settings is understood, or refused with what they may have meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blockwise.cluster.settings import Cluster
from blockwise.errors import BadInput
from blockwise.fields import Place, with_variables
from blockwise.settings import Settings, parse_yaml, read_yaml
from contraband.commands.screen import place
from contraband.volumes.settings import VolumeSettings, load_volume_settings

PLAIN = {"affinities": "a.zarr/affinities", "output": "out.zarr"}


class Shelf(Settings):
    """A section with a place."""

    place: Place


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~/a/b", "HOME/a/b"),
        ("${SCRATCH}/b", "/scratch/b"),
        ("$SCRATCH/b", "/scratch/b"),
        ("a/${USER_7}b", "a/sevenb"),
        ("a~/b", "a~/b"),
        ("$/b", "$/b"),
    ],
)
def test_a_path_may_name_the_home_folder_and_variables(
    written: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a shell would read it, also from a file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.setenv("USER_7", "seven")
    wanted = Path(meant.replace("HOME", str(tmp_path)))
    assert Shelf.parse({"place": written}, "test").place == wanted
    assert Shelf(place=Path(written)).place == wanted


@pytest.mark.parametrize("written", ["${NO_SUCH}/a", "$NO_SUCH/a", "a/${NO_SUCH}", "~no_such_user/a"])
def test_an_unknown_variable_or_user_is_refused_by_name(written: str) -> None:
    """A folder of that name is never what was meant."""
    with pytest.raises(BadInput, match=r"test: place: there is no .*(NO_SUCH|no_such_user)"):
        Shelf.parse({"place": written}, "test")


@pytest.fixture
def home(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, a variable of a folder, and an empty working folder, in which paths are relative."""
    for name in ("home", "scratch", "work"):
        (in_tmp / name).mkdir()
    monkeypatch.setenv("HOME", str(in_tmp / "home"))
    monkeypatch.setenv("SCRATCH", str(in_tmp / "scratch"))
    monkeypatch.chdir(in_tmp / "work")
    return in_tmp / "home"


NAMES = [
    "~",
    "~x",
    "~no_such_user/a",
    "$x",
    "${x}",
    "a/$x.tif",
    "$SCRATCH",
    "$SCRATCH/a",
    "~/a",
    "$x/$SCRATCH",
    "${a b}",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("base", [Path(), Path("BASE")], ids=["relative", "absolute"])
def test_a_file_that_is_called_so_is_taken(name: str, base: Path, home: Path) -> None:
    """One that is there under just this name, unless what the name stands for is there, too."""
    home.rmdir()
    home.with_name("scratch").rmdir()
    path = (Path.cwd() if base.name else base) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert Shelf.parse({"place": str(path)}, "test").place == path
    assert place(path) == path


@pytest.mark.parametrize("name", ["$x", "a/${x}", "~no_such_user"])
def test_what_is_made_in_a_folder_that_is_called_so_is_understood(name: str, home: Path) -> None:
    """The folder is there, and what is named need not be."""
    Path(name).mkdir(parents=True)
    output = Path(name) / "out.zarr"
    settings = VolumeSettings.parse({**PLAIN, "output": str(output), "store": f"sqlite:///{name}/a.db"}, "test")
    assert settings.output == output
    assert settings.store_url == f"sqlite:///{Path.cwd()}/{name}/a.db"
    beside = VolumeSettings.parse({**PLAIN, "output": str(output)}, "test")
    assert beside.store_url == f"sqlite:///{Path.cwd()}/{name}/out.db"


@pytest.mark.parametrize("name", ["~", "$SCRATCH"])
def test_a_folder_that_was_made_by_mistake_changes_no_meaning(name: str, home: Path) -> None:
    """Programs that replace nothing have made folders called ~: what is new goes where the name leads."""
    Path(name).mkdir()
    leads = {"~": home, "$SCRATCH": home.with_name("scratch")}[name]
    assert Shelf.parse({"place": f"{name}/new"}, "test").place == leads / "new"


@pytest.mark.parametrize("name", ["~/a", "$SCRATCH/a"])
def test_a_name_that_means_two_files_is_refused(name: str, home: Path) -> None:
    """Both are named."""
    for place_of_a in (home, home.with_name("scratch"), Path("~"), Path("$SCRATCH")):
        place_of_a.mkdir(exist_ok=True)
        (place_of_a / "a").touch()
    with pytest.raises(BadInput, match=r"test: place: may be [~$].*/a here or /.*/a, and both are there: rename"):
        Shelf.parse({"place": name}, "test")
    Path(name).unlink()
    Path(name).symlink_to(Shelf.parse({"place": name}, "test").place)
    assert Shelf.parse({"place": name}, "test").place.is_absolute()  # a link to it is no other file


@pytest.mark.parametrize("name", ["$x.tif", "a/${x}", "~no_such_user"])
def test_what_cannot_be_replaced_and_is_not_there_says_both(name: str, home: Path) -> None:
    """That there is no such variable or user, and no such file."""
    with pytest.raises(BadInput, match=r"there is no .*, and no .*(\$|~|x).* here; "):
        place(Path(name))
    with pytest.raises(BadInput, match=r"test: store: there is no"):
        VolumeSettings.parse({**PLAIN, "store": f"sqlite:///{name}/a.db"}, "test")


def test_a_password_with_a_dollar_stays() -> None:
    """In the URL of a store only braces name a variable."""
    assert with_variables("mongodb://me:pa$$word@host/x", bare=False) == "mongodb://me:pa$$word@host/x"
    with pytest.raises(BadInput, match=r"store: there is no variable NO_SUCH"):
        VolumeSettings.parse({**PLAIN, "store": "mongodb://${NO_SUCH}@host/x"}, "test")


def test_the_store_may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """~ in the URL of SQLite is no folder of that name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = VolumeSettings.parse({**PLAIN, "store": "sqlite:///~/a.db"}, "test")
    assert settings.store_url == f"sqlite:///{tmp_path}/a.db"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:00:00", "12:00:00"),
        ("04:00:00", "04:00:00"),
        ("1:30", "1:30"),
        ("0123", "0123"),
        ("1e-5", 1e-5),
        (".5", 0.5),
        ("1.e3", 1000.0),
        ("1_000", 1000),
        ("0x1F", 31),
        ("-3", -3),
        ("12", 12),
    ],
)
def test_times_are_text_and_numbers_are_numbers(text: str, value: object) -> None:
    """YAML 1.1 makes 43200 of 12:00:00, and 83 of 0123; both without a word."""
    found = parse_yaml(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("walltime", "12:00:00", "12:00:00"),
        ("walltime", "1-00:00:00", "1-00:00:00"),
        ("account", "0123", "0123"),
        ("account", "4711", "4711"),
        ("queue", "7", "7"),
        ("prologue", "module load cuda", ("module load cuda",)),
        ("directives", "--exclusive", ("--exclusive",)),
    ],
)
def test_batch_settings_need_no_quotes_and_no_list_of_one(key: str, text: str, value: object) -> None:
    """What they read as is what was written."""
    assert getattr(Cluster.parse(parse_yaml(f"{key}: {text}"), "test"), key) == value


@pytest.mark.parametrize("text", ["720", "43200", "1.5"])
def test_a_number_as_walltime_is_refused(text: str) -> None:
    """It is minutes to one batch system and seconds to another."""
    with pytest.raises(BadInput, match=r'walltime: a time needs .*"04:00:00"'):
        Cluster.parse(parse_yaml(f"walltime: {text}"), "test")


@pytest.mark.parametrize(
    ("section", "key", "value", "wanted"),
    [
        ("segment", "thresholds", 0.5, (0.5,)),
        ("segment", "thresholds", 1, (1.0,)),
        ("evaluate", "thresholds", 0.25, (0.25,)),
        ("evaluate", "ignore", 7, (7,)),
        ("cluster", "hosts", "one", ("one",)),
    ],
)
def test_one_value_stands_for_a_list_of_one(section: str, key: str, value: object, wanted: object) -> None:
    """Wherever any number of values may be listed."""
    settings = VolumeSettings.parse({**PLAIN, section: {key: value}}, "test")
    assert getattr(getattr(settings, section), key) == wanted


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"segment": {"thresholds": 7}}, "segment.thresholds"),
        ({"segment": {"thresholds": "much"}}, "segment.thresholds"),
        ({"segment": {"thresholds": True}}, "segment.thresholds"),
        ({"blocks": {"shape": 64}}, "blocks.shape"),
        ({"evaluate": {"ignore": 0.5}}, "evaluate.ignore"),
    ],
)
def test_one_value_that_no_list_may_hold_is_refused(data: dict[str, Any], line: str) -> None:
    """By its key, as the list would be; a shape needs three."""
    with pytest.raises(BadInput, match=line):
        VolumeSettings.parse({**PLAIN, **data}, "test")


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ({"segmnt": {}}, "did you mean segment?"),
        ({"segment": {"threshold": [0.5]}}, "did you mean thresholds?"),
        ({"volume": {"lables": "x"}}, "did you mean labels?"),
        ({"model": {"checkpoint": "x", "presicion": "auto"}}, "did you mean precision?"),
        ({"fragments": {"foreground": {"treshold": 0.5}}}, "did you mean threshold?"),
        ({"thresholds": [0.5]}, "it belongs under segment"),
        ({"walltime": "1:00"}, "it belongs under cluster"),
        ({"qqq": 1}, "remove it or correct its spelling"),
    ],
)
def test_an_unknown_key_is_answered_with_the_likely_one(data: dict[str, Any], hint: str) -> None:
    """The nearest of its section, or the section that has it."""
    with pytest.raises(BadInput) as caught:
        VolumeSettings.parse({**PLAIN, **data}, "test")
    assert "unknown key" in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ouput: a.zarr\naffinities: x", "ouput: unknown key (1 more); did you mean output?"),
        ("segment: {thresholds: '0.1,0.2'}", "must be a list; got '0.1,0.2'; write [0.1, 0.2]"),
        ("segment: {thresholds: 0.1 0.2}", "must be a list; got '0.1 0.2'; write [0.1, 0.2]"),
        ("segment: {thresholds: ['0.5']}", "must be a valid number; got '0.5'; leave out the quotes"),
        ("segment: {thresholds: [.nan]}", "segment.thresholds.0: is a number that is not finite; got nan"),
        ("agglomerate: {stop: .inf}", "agglomerate.stop: is a number that is not finite; got inf"),
        ("segment: [0.5]", "segment: must be a section of keys; got [0.5]"),
        ("output: 20240101", "output: must be a text; got 20240101; put it in quotes"),
        ("cluster: {dashboard: 70000}", "cluster.dashboard: must be true, false, or a port from 0 to 65535; got 70000"),
        (
            "{pipeline: a, seg: {}, contrastive: {}}",
            "pipeline: unknown key (2 more); is it a file for another command?",
        ),
        ("cluster: {chain: maybe}", "cluster.chain: must be true, false, or auto; got 'maybe'"),
    ],
)
def test_a_slip_is_answered_in_the_words_of_the_file(text: str, line: str) -> None:
    """What is wrong, and how it is written, in words of YAML rather than of the program that checks it."""
    with pytest.raises(BadInput) as caught:
        VolumeSettings.parse({**PLAIN, **parse_yaml(text)} if "ouput" not in text else parse_yaml(text), "test")
    assert line in str(caught.value)


@pytest.mark.parametrize("section", ["segment", "cluster", "volume", "blocks", "model"])
def test_a_section_of_which_all_keys_are_commented_out_is_empty(section: str) -> None:
    """YAML gives null for it, which means what a file without the section means."""
    assert VolumeSettings.parse({**PLAIN, section: None}, "test") == VolumeSettings.parse(PLAIN, "test")


def test_a_missing_file_is_looked_for_in_the_working_folder(in_tmp: Path) -> None:
    """Paths are relative to where the command runs, not to the file that names them; the message says so."""
    with pytest.raises(BadInput, match=f"relative to the working folder, {in_tmp}"):
        read_yaml(Path("nosuch.yaml"))
    Path("sub").mkdir()
    Path("sub/vol.yaml").write_text("affinities: a.zarr/x\noutput: out.zarr\n")
    settings = load_volume_settings(Path("sub/vol.yaml"))
    assert settings.output.absolute() == in_tmp / "out.zarr"


@pytest.mark.parametrize(
    ("section", "voxels", "kind"),
    [
        ({}, 19_999_999, "none"),
        ({}, 20_000_000, "local"),
        ({"kind": "auto"}, 1, "none"),
        ({"workers": 2}, 1, "local"),
        ({"address": "tcp://10.0.0.1:8786"}, 1, "local"),
        ({"kind": "local"}, 1, "local"),
        ({"kind": "none"}, 10**12, "none"),
    ],
)
def test_a_small_volume_is_done_in_this_process(section, voxels, kind):
    """Without a word about the cluster, few voxels need no workers; any key of it asks for them."""
    assert Cluster.parse(section, "cluster").decided(voxels).kind == kind
