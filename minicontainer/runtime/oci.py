"""Words that a bundle's writer and its reader share.

Source: the OCI runtime specification, https://github.com/opencontainers/runtime-spec, config.md.
"""

from __future__ import annotations

VERSION = "1.0.2"
INIT = "org.minicontainer.init"  #: the annotation that asks for a reaper as PID 1 ("true")
