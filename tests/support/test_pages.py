"""Parts of pages that commands write."""

from __future__ import annotations

import pytest

from tests.support.pages import between


def test_only_what_is_between_the_marks_changes():
    """The rest of the page stays as it is, and writing twice is writing once."""
    text = "above\n<!-- bench -->\nold\n<!-- /bench -->\nbelow\n"
    written = between(text, "bench", "new\n")
    assert written == "above\n<!-- bench -->\nnew\n<!-- /bench -->\nbelow\n"
    assert between(written, "bench", "new\n") == written
    with pytest.raises(ValueError, match="no lines"):
        between("above\n<!-- /bench --> <!-- bench -->", "bench", "new")
