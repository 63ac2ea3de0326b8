"""minicontainer: a container runtime to read, chapter by chapter, and then to use."""

from __future__ import annotations

from minicontainer import version

__version__ = version.VERSION
