"""Running a program in some namespaces of a process, and in ours for the rest: nsenter(1).

As a program of its own (``python -m minicontainer.runtime.nsenter PID uts,net hostname``) it can be started
from one that has threads, and from a notebook without staining it.
"""

from __future__ import annotations

import os
import sys

from minicontainer.errors import Error
from minicontainer.runtime import namespaces, program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def run(pid: int, names: Sequence[str], argv: Sequence[str]) -> int:
    """Enter the namespaces ``names`` of process ``pid`` and run a program there; returns its exit code.

    The caller, which must be single-threaded, is in those namespaces afterwards. The program is found in the
    file system that is seen then: with the mount namespace the container's, without it the host's.
    """
    namespaces.enter(pid, names)
    if any(namespaces.find(name).name == "mount" for name in names):
        os.chdir("/")
    child = os.fork()  # a pid namespace is entered by a child
    if child == 0:
        try:
            program.execute(argv, os.environ)
        except Error as error:
            print(f"minicontainer: {error}", file=sys.stderr, flush=True)
            os._exit(error.exit_code)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def main() -> None:
    """``PID NAME[,NAME...] PROGRAM [ARGUMENT...]``."""
    pid, names, *argv = [*sys.argv[1:], "", ""]
    argv = argv[:-2]
    if not pid.isdecimal() or not argv:
        sys.exit("usage: python -m minicontainer.runtime.nsenter PID NAME[,NAME...] PROGRAM [ARGUMENT...]")
    try:
        sys.exit(run(int(pid), names.split(","), argv))
    except (Error, OSError) as error:
        print(f"minicontainer: {error}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, Error) else Error.exit_code)


if __name__ == "__main__":
    main()
