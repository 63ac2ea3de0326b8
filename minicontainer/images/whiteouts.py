"""How a layer says that something is not there any more, in the kernel's words and in a tar archive's.

A lower layer is never changed, so a removal is written into the layer above it:

===========================  ==================================  ===============================
what happened                in an overlay's upper directory     in a layer's archive
===========================  ==================================  ===============================
a name was removed           character device 0/0, a whiteout    empty file ``.wh.NAME``
a directory was replaced     ``trusted.overlay.opaque=y``        empty file ``.wh..wh..opq`` in it
===========================  ==================================  ===============================

(Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"; image-spec, layer.md.) Where
devices cannot be made, as in the upper directory of an overlay within an overlay, a whiteout is an empty file
with the attribute ``trusted.overlay.whiteout``, in a directory that is marked ``trusted.overlay.opaque=x``.
"""

from __future__ import annotations

import errno
import os
import stat

from minicontainer.errors import Unsupported

PREFIX = ".wh."
OPAQUE = ".wh..wh..opq"
OPAQUE_XATTR = "trusted.overlay.opaque"
_WHITEOUT_XATTR = "trusted.overlay.whiteout"
_KERNELS = ("trusted.overlay.", "user.overlay.")  # the kernel's notes to itself, which no archive carries
_ELSEWHERE = ("redirect", "metacopy")  # those that say: the rest of this file is somewhere else


def is_whiteout(status: os.stat_result, path: str) -> bool:
    """Whether the file at ``path``, with this lstat(2), stands for one that was removed."""
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev == 0
    empty = stat.S_ISREG(status.st_mode) and status.st_size == 0
    return empty and get_xattr(path, _WHITEOUT_XATTR) is not None


def is_opaque(path: str | int) -> bool:
    """Whether nothing of the layers below shows through this directory, a path or a descriptor."""
    return get_xattr(path, OPAQUE_XATTR) == b"y"


def is_kernels(xattr: str, path: str) -> bool:
    """Whether an extended attribute is a note of overlayfs to itself.

    Raises Unsupported for a note that ``path`` is not the whole file: what it lacks lies under another name.
    """
    if not xattr.startswith(_KERNELS):
        return False
    if xattr.rpartition(".")[2] in _ELSEWHERE and xattr.count(".") == 2:
        raise Unsupported(
            f"{path} cannot be read without its overlay: it was written with redirect_dir or metacopy on "
            f"(it has the attribute {xattr}); copy it to a new place in the container and remove it here"
        )
    return True


def get_xattr(path: str | int, name: str) -> bytes | None:
    """The value of an extended attribute of this very file, None when it has no such (getxattr(2))."""
    try:
        return os.getxattr(path, name, follow_symlinks=isinstance(path, int))
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise
