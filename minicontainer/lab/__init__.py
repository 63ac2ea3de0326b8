"""What the notebooks use besides the package itself: nothing below this floor knows of it.

============================  ================================================================
:func:`require`               can this host do what the chapter needs? And is there an image?
``%%child`` ``%%every_child`` Python in a process of its own, and the lines each begins with
``%%shell``                   a shell script in a process of its own, with ``minicontainer`` in it
``%%peer``                    a shell script for Docker and its like, or what it said elsewhere
:func:`source`                the code that runs, with file and line
:func:`table`                 rows, as a table
:func:`tree`                  directories on disk, with the marks that overlayfs makes in them
:func:`build`                 build an image, and show which steps were made and which were known
:func:`build_graph`           the same, as a drawing of the stages
:func:`network_graph`         the live networks with the containers on them, as a drawing
:func:`explore`               what a function returns, with a menu for each of its arguments
:func:`registry`              a registry on this host, to look into
:func:`visitors`              clients of a service who count what they were answered
:func:`free_port`             a port for such a service
:func:`workbench`             an empty directory to work in, where children begin
:data:`check`                 a checker for each exercise, by the exercise's name
:func:`clean_up`              remove what the chapter made, and prove that nothing is left
============================  ================================================================

Importing this teaches a running IPython the magics. Each has a twin that is an ordinary function
(:func:`child`, :func:`every_child`, :func:`shell`, :func:`peer`), for use without one.
"""

from __future__ import annotations

from minicontainer.lab import check, magics
from minicontainer.lab.builds import build, build_graph
from minicontainer.lab.children import ChildFailed, child, every_child, shell
from minicontainer.lab.networks import network_graph
from minicontainer.lab.peers import peer
from minicontainer.lab.preflight import NotReady, require
from minicontainer.lab.shelf import registry
from minicontainer.lab.show import source, table
from minicontainer.lab.tidy import LeftBehind, cgroup_path, clean_up, workbench
from minicontainer.lab.traffic import free_port, visitors
from minicontainer.lab.trees import tree
from minicontainer.lab.widgets import explore

__all__ = [
    "ChildFailed",
    "LeftBehind",
    "NotReady",
    "build",
    "build_graph",
    "cgroup_path",
    "check",
    "child",
    "clean_up",
    "every_child",
    "explore",
    "free_port",
    "network_graph",
    "peer",
    "registry",
    "require",
    "shell",
    "source",
    "table",
    "tree",
    "visitors",
    "workbench",
]

magics.register()
