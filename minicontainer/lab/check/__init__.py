"""The checkers of the exercises, by the names of the exercises: ``lab.check.start_as_pid_1(solution)``.

Each tries the solution (:mod:`minicontainer.lab.trial`), looks at what has become of it in the kernel, and
answers with what was seen and what was expected.
"""

from __future__ import annotations

from minicontainer.lab.check.builds import in_order, keep_secret, small
from minicontainer.lab.check.cgroups import at_most, half_a_processor, limit_memory
from minicontainer.lab.check.copy_on_write import changes, pack, recover
from minicontainer.lab.check.namespaces import (
    borrow_network,
    private_directory,
    start_as_pid_1,
)
from minicontainer.lab.check.networks import far_end, join, open_shop
from minicontainer.lab.check.production import canary, flip, let_go
from minicontainer.lab.check.registries import fetch_blob, still_to_fetch, tag_again
from minicontainer.lab.check.scratch import assemble, from_nothing, layer_of
from minicontainer.lab.check.union import hide, move_in, stack
from minicontainer.lab.check.welcome import is_contained, start_kitchen

__all__ = [
    "assemble",
    "at_most",
    "borrow_network",
    "canary",
    "changes",
    "far_end",
    "fetch_blob",
    "flip",
    "from_nothing",
    "half_a_processor",
    "hide",
    "in_order",
    "is_contained",
    "join",
    "keep_secret",
    "layer_of",
    "let_go",
    "limit_memory",
    "move_in",
    "open_shop",
    "pack",
    "private_directory",
    "recover",
    "small",
    "stack",
    "start_as_pid_1",
    "start_kitchen",
    "still_to_fetch",
    "tag_again",
]
