"""Images: images, import, rmi."""

from __future__ import annotations

import sys

from minicontainer.cli import table
from minicontainer.cli.flags import BOOL, LIST, STRING, Command, Flag
from minicontainer.engine import listing
from minicontainer.errors import Error, NotFound
from minicontainer.images import archive, changes
from minicontainer.images.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minicontainer.cli.flags import Values
    from minicontainer.engine.engine import Engine

HEADERS: dict[str, object] = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ID": "IMAGE ID",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "Containers": "CONTAINERS",
}


def images(engine: Engine, values: Values, words: list[str]) -> None:
    """List images."""
    rows = listing.images(engine, words[0] if words else "", trunc=not values.no_trunc)
    columns = ("Repository", "Tag", *(["Digest"] if values.digests else []), "ID", "CreatedSince", "Size")
    if values.quiet:
        rows = list({row["ID"]: row for row in rows}.values())
    quiet = "ID" if values.quiet else None
    print(table.formatted(rows, values.format, HEADERS, columns, quiet), end="")


def import_(engine: Engine, values: Values, words: list[str]) -> None:
    """Make an image of a root filesystem in a tarball."""
    name = Reference.parse(words[1]) if len(words) > 1 else None
    with archive.open_source(words[0]) as source:
        image = archive.import_tree(
            engine.images,
            source,
            name,
            config=changes.apply({}, values.change),
            message=values.message or f"Imported from {words[0]}",
        )
    print(image.id)


def remove(engine: Engine, values: Values, names: list[str]) -> int:
    """Remove images, or names of them."""
    status = 0
    for name in names:
        try:
            for line in engine.remove_image(name, force=values.force):
                print(line)
        except NotFound as error:
            if not values.force:
                status = _complain(error)
        except Error as error:
            status = _complain(error)
    return status


def _complain(error: Exception) -> int:
    print(f"minicontainer: {error}", file=sys.stderr)
    return 1


COMMANDS = {
    "images": Command(
        "images",
        "[OPTIONS] [REPOSITORY[:TAG]]",
        "List images",
        (
            Flag("a", "all", BOOL, "Show all images (default hides intermediate images)"),
            Flag("", "digests", BOOL, "Show digests"),
            Flag("", "format", STRING, "Pretty-print images using a Go template"),
            Flag("", "no-trunc", BOOL, "Don't truncate output"),
            Flag("q", "quiet", BOOL, "Only show image IDs"),
        ),
        images,
        most=1,
        completes="images",
    ),
    "import": Command(
        "import",
        "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
        "Import the contents from a tarball to create a filesystem image",
        (
            Flag("c", "change", LIST, "Apply Dockerfile instruction to the created image"),
            Flag("m", "message", STRING, "Set commit message for imported image"),
        ),
        import_,
        least=1,
        most=2,
        completes="files",
    ),
    "rmi": Command(
        "rmi",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Remove one or more images",
        (
            Flag("f", "force", BOOL, "Force removal of the image"),
            Flag("", "no-prune", BOOL, "Do not delete untagged parents"),
        ),
        remove,
        least=1,
        completes="images",
    ),
}
