"""From the page of a run into its viewer, and who is led there."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.request
from urllib.parse import urlsplit

import pytest

from blockwise.grid import pack
from contraband.volumes.line import stages
from contraband.volumes.monitor.facts import Facts
from contraband.volumes.monitor.peers import is_ours
from contraband.volumes.monitor.serving import served_here
from contraband.volumes.output import Output
from contraband.volumes.view.notice import left_in, running_viewer
from contraband.volumes.view.page import add_page
from contraband.volumes.view.viewer import RunViewer, close_viewer
from tests.support.browser import opened_browser
from tests.support.viewed import viewed_run

PATIENCE_S = 120
NOBODY = 65534
BLOCK = (1, 2, 1)
"""The one that is looked at, of (2, 3, 2) blocks of (16, 32, 64) voxels."""
MIDDLE = (24, 80, 96)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return viewed_run(tmp_path_factory.mktemp("viewed"))


@pytest.fixture(scope="module")
def page(settings):
    """The address of the page of the finished run."""
    with served_here(Facts(settings, stages(settings))) as address:
        yield address


@pytest.fixture
def viewer(settings):
    """A viewer of the run that has left its address."""
    shown = RunViewer(settings, "127.0.0.1", 0)
    with left_in(Output(settings.output), add_page(shown)):
        yield shown
    close_viewer()


def told_of(page):
    """What the page knows of the viewer."""
    with urllib.request.urlopen(f"{page}block?stage=edges&key={pack(BLOCK)}", timeout=30) as answer:
        return json.load(answer)["viewer"]


def until(ask):
    """Ask until there is an answer."""
    end = time.monotonic() + PATIENCE_S
    while not (found := ask()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


def show_block(driver):
    """Have the page show the block; its text."""
    driver.execute_script(
        "document.getElementById('block').replaceChildren(); showBlock(arguments[0])", str(pack(BLOCK))
    )
    return until(lambda: driver.find_elements("id", "where"))[0].text


def test_a_block_leads_into_the_viewer_and_moves_it(settings, page):
    """Without a viewer the page tells the command; with one there is a link, and who follows it is at the block."""
    with opened_browser((1200, 800)) as driver:
        driver.get(page)
        until(lambda: driver.execute_script("return chosen"))
        driver.execute_script("choose('edges')")
        assert "contraband view" in show_block(driver)
        assert not driver.find_elements("css selector", "#where a")
        shown = RunViewer(settings, "127.0.0.1", 0)
        address = add_page(shown)
        with left_in(Output(settings.output), address):
            before = list(shown.viewer.state.position)
            show_block(driver)
            link = driver.find_element("css selector", "#where a")
            assert link.get_attribute("href") == f"{address}#at={','.join(map(str, MIDDLE))}"
            link.click()
            until(lambda: list(shown.viewer.state.position) != before)
            # The array begins 10 voxels along z and y after the world does.
            corner = (10, 10, 0)
            assert list(shown.viewer.state.position) == [
                at + begin + 0.5 for at, begin in zip(MIDDLE, corner, strict=True)
            ]
        close_viewer()


def test_the_address_is_there_as_long_as_the_viewer(settings, page, viewer):
    """Only its user can read it; one that a killed viewer has left leads nowhere, nor does one that is none."""
    output = Output(settings.output)
    assert told_of(page) == running_viewer(output)
    assert output.viewer.stat().st_mode & 0o777 == 0o600
    close_viewer()
    assert told_of(page) is None
    output.viewer.write_text("javascript:alert(1)\n")
    assert told_of(page) is None


def test_a_later_viewer_keeps_its_address(settings):
    """The end of an earlier one does not take it away."""
    output = Output(settings.output)
    with left_in(output, "http://127.0.0.1:1/view/early/"):
        later = left_in(output, "http://127.0.0.1:2/view/late/")
        later.__enter__()
    assert output.viewer.read_text() == "http://127.0.0.1:2/view/late/\n"
    later.__exit__(None, None, None)
    assert not output.viewer.exists()


def test_an_output_that_cannot_be_written_has_no_address(tmp_path):
    """The viewer is there all the same, as of somebody else's run."""
    with left_in(Output(tmp_path / "nothing"), "http://127.0.0.1:1/view/here/"):
        assert running_viewer(Output(tmp_path / "nothing")) is None


def test_other_users_are_not_led_into_the_viewer(page, viewer):
    """The page is for everybody on the machine; who knows the address of the viewer sees the volume."""
    if os.getuid() != 0:
        pytest.skip("needs root, to ask as another user")
    assert told_of(page) is not None
    assert told_nobody(page) is None


def test_a_port_that_we_use_as_well_leads_no_other_user(page, viewer):
    """One port may serve several connections; to the kernel one that is over is root's."""
    if os.getuid() != 0:
        pytest.skip("needs root, to ask as another user")
    with socket.create_server(("127.0.0.1", 0)) as server, shared_socket() as mine:
        mine.connect(server.getsockname())
        theirs, _ = server.accept()
        port = mine.getsockname()[1]
        assert told_nobody(page, port) is None
        mine.close()  # first, so that this end is what waits
        theirs.close()
        assert told_nobody(page, port) is None


def test_a_connection_that_nobody_knows_is_not_ours():
    """Nor one whose other end is closed, nor one that is none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        mine = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        assert is_ours(mine)
        assert is_ours(theirs)
        mine.close()
        assert not is_ours(theirs)
        theirs.close()
        assert not is_ours(theirs)
        assert not is_ours(server)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
def test_a_connection_over_ipv6_is_not_ours():
    """Its table is another, and no page is served there."""
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as server,
        socket.create_connection(server.getsockname()[:2]) as mine,
    ):
        assert not is_ours(mine)


def shared_socket(port=0):
    """A socket at a port that several may use."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


def told_nobody(page, port=0):
    """What the page tells a process of another user of the viewer; it asks from this port."""
    place = urlsplit(page)
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setuid(NOBODY)
            with shared_socket(port) as connection:
                connection.connect((place.hostname, place.port))
                path = f"{place.path}block?stage=edges&key={pack(BLOCK)}"
                connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                while data := connection.recv(65536):
                    os.write(send, data)
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as answer:
        found = answer.read()
    os.waitpid(child, 0)
    return json.loads(found.partition(b"\r\n\r\n")[2])["viewer"]
