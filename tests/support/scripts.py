"""The code in the project's pages, to be run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

_FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def python_blocks(page: str) -> list[str]:
    """The Python blocks of a page of the project, in order."""
    return _FENCE.findall((ROOT / page).read_text(encoding="utf-8"))


def run_script(text: str, folder: Path, *arguments: object, timeout_s: float = 240) -> str:
    """Run a script in a folder, as a file in it without a main guard; what it printed. It must end well and quietly."""
    path = folder / "script.py"
    path.write_text(text, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(path), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout
