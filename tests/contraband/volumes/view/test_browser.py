"""The page in a browser: what is on the screen has the colours of the numbers served."""

from __future__ import annotations

import time

import numpy as np
import pytest

import contraband
from contraband.volumes.view.page import add_page
from contraband.volumes.view.viewer import RunViewer, close_viewer
from tests.support.browser import opened_browser, picture
from tests.support.viewed import SHAPE, viewed_run

PATIENCE_S = 60
WINDOW_PX = (900, 600)
PLACES = ((16, 48, 64), (8, 70, 100))


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A finished run with its truth, in a viewer whose segments cover what is below."""
    viewer = RunViewer(viewed_run(tmp_path_factory.mktemp("viewed")), "127.0.0.1", 0)
    with viewer.viewer.txn() as state:
        state.show_axis_lines = False
        state.cross_section_scale = 0.1
        state.layers["segments"].layer.selected_alpha = 1
        state.layers["segments"].layer.not_selected_alpha = 1
    yield viewer
    close_viewer()


@pytest.fixture(scope="module")
def browser(shown):
    with opened_browser(WINDOW_PX) as driver:
        driver.get(add_page(shown))
        yield driver


def colour(number):
    """(3,) uint8: how neuroglancer paints an object."""
    from neuroglancer.segment_colors import hex_string_from_segment_id

    text = hex_string_from_segment_id(0, int(number))
    return [int(text[at : at + 2], 16) for at in (1, 3, 5)]


def middle(driver):
    """Where the middle of the XY view is in the window, (x, y) in pixels; None before there is one."""
    frame = driver.find_element("id", "viewer")
    inside = """const box = document.querySelector('.neuroglancer-rendered-data-panel')?.getBoundingClientRect();
        return box ? [box.left + box.width / 2, box.top + box.height / 2] : null;"""
    driver.switch_to.frame(frame)
    found = driver.execute_script(inside)
    driver.switch_to.default_content()
    return found and (int(found[0] + frame.location["x"]), int(found[1] + frame.location["y"]))


def around(driver, px):
    """(2 px, 2 px, 3) int: the picture around the middle of the XY view; nothing before there is one."""
    found = middle(driver)
    if found is None:
        return np.zeros((0, 0, 3), int)
    x, y = found
    return picture(driver)[y - px : y + px, x - px : x + px].astype(int)


def until(driver, wanted):
    """Seconds until the middle of the XY view has a colour; what it has in the end if that never comes."""
    begin = time.monotonic()
    while time.monotonic() - begin < PATIENCE_S:
        found = around(driver, 1)
        if found.size and np.abs(found - wanted).max() <= 2:
            return time.monotonic() - begin
        time.sleep(0.05)
    return pytest.fail(f"the middle is {found.tolist()}, not {wanted}")


def move(driver, threshold):
    """Drag the slider to a threshold."""
    script = "const s = document.getElementById('slider'); s.value = arguments[0]; s.dispatchEvent(new Event('input'));"
    driver.execute_script(script, threshold)


@pytest.mark.parametrize("threshold", [None, 0.25, 0.9])
def test_pixels_have_the_colours_of_the_numbers_of_the_threshold(shown, browser, threshold):
    """At each place the pixel is painted as the segment at the threshold of the slider, at first the best one."""
    if threshold is None:
        threshold = contraband.open_result(shown.settings).evaluation["best"]["threshold"]
    else:
        move(browser, threshold)
    segments = contraband.open_result(shown.settings).segments(threshold)[...]
    for place in PLACES:
        browser.execute_script("location.hash = '#at=' + arguments[0]", ",".join(map(str, place)))
        until(browser, colour(segments[place]))
    assert browser.find_element("id", "number").get_attribute("value") == str(threshold)


def test_the_truth_is_not_what_is_shown_first(shown, browser):
    """The layer of the truth is there and switched off, so that no pixel is painted by its numbers."""
    visible = {layer.name: layer.visible for layer in shown.viewer.state.layers}
    assert visible["labels"] is False
    assert [name for name, is_on in visible.items() if is_on] == ["raw", "segments"]


def test_a_new_threshold_is_soon_on_the_screen(shown, browser):
    """From the slider to the pixels takes few seconds, of which the picture taken by the driver is the most."""
    browser.execute_script("location.hash = '#at=" + ",".join(map(str, PLACES[0])) + "'")
    for threshold in (0.3, 0.8):
        segments = contraband.open_result(shown.settings).segments(threshold)[PLACES[0][0]]
        move(browser, threshold)
        assert until(browser, colour(segments[PLACES[0][1:]])) < 20


def test_raw_of_16_bits_is_not_black(shown, browser):
    """With segments switched off, the plane of raw uses the range from dark to bright."""
    with shown.viewer.txn() as state:
        state.layers["segments"].visible = False
    end = time.monotonic() + PATIENCE_S
    while True:
        found = around(browser, 100)
        if np.ptp(found, -1).mean() < 3 and found.max() > 200 and found.std() > 25:
            break
        assert time.monotonic() < end, f"mean {found.mean():.0f}, deviation {found.std():.0f}"
        time.sleep(0.2)
    with shown.viewer.txn() as state:
        state.layers["segments"].visible = True


def test_the_page_needs_nothing_from_elsewhere(browser):
    """All that the page and the viewer have loaded came from this machine."""
    script = "return performance.getEntriesByType('resource').map(one => one.name)"
    loaded = browser.execute_script(script)
    browser.switch_to.frame(browser.find_element("id", "viewer"))
    loaded += browser.execute_script(script)
    browser.switch_to.default_content()
    assert loaded
    assert all(one.startswith(("http://127.0.0.1:", "blob:http://127.0.0.1:", "data:")) for one in loaded)


def test_false_merges_are_listed_under_their_heading(shown, browser):
    """Where labels tell of some, the page lists them all under their heading."""
    rows = browser.find_elements("css selector", "#merges tr")
    assert len(rows) == len(shown.facts()["false_merges"]) > 0
    assert browser.find_element("id", "merged").is_displayed()


def test_places_are_within_the_volume():
    """The places looked at are voxels of the volume."""
    assert (np.array(PLACES) < SHAPE).all()
