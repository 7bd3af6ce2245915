"""The folder of whoever runs this."""

from __future__ import annotations

import os


def ensure_home() -> None:
    """Give a user one who has neither a home nor a name, as in a container: some packages cannot be imported else.

    It is /, as containers have it, which only root may write to: from a folder that all may write to, files of others
    would be read.
    """
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = "/"
