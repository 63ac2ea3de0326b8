"""The same thing in Docker and its like: live where they are installed, from a recording where they are not.

A recording is what a ``%%peer`` cell of the committed notebooks has put out, in a file of its own below
``recorded/``. ``scripts/execute-notebooks --record`` writes them, and a test compares the two.
"""

from __future__ import annotations

import os
import shutil
import sys

from minicontainer.errors import NotFound
from minicontainer.lab.children import TIMEOUT, Child

RECORDED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "recorded")


def peer(tool: str, recording: str, script: str, timeout: float = TIMEOUT) -> None:
    """Run a script by sh(1) if the program ``tool`` is here and the script succeeds, or show what it said once.

    :param recording: the name of the recording
    :raises NotFound: when it is needed and there is none
    """
    if shutil.which(tool) is None:
        reason = f"{tool} is not installed here"
    else:
        process = Child(["sh", "-eu", "-c", script])
        try:
            code, text = process.wait(timeout), process.text()
        finally:
            process.close()
        if code == 0:
            sys.stdout.write(text)
            return
        last = text.strip().splitlines()[-1:] or [f"exit code {code}"]
        reason = f"{tool} cannot run this here: {last[0]}"
    print(f"({reason}; this is what it said elsewhere)\n{recorded(recording)}", end="")


def recorded(name: str) -> str:
    """The text of a recording."""
    try:
        with open(os.path.join(RECORDED, f"{name}.txt"), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        raise NotFound(f"there is no recording {name}") from None
