"""Images: images, history, import, tag, rmi, image prune."""

from __future__ import annotations

import sys

from minicontainer import units
from minicontainer.cli import confirm, table
from minicontainer.cli.flags import BOOL, LIST, STRING, Command, Flag
from minicontainer.engine import events, image_listing
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
HISTORY_HEADERS: dict[str, object] = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


def images(engine: Engine, values: Values, words: list[str]) -> None:
    """List images."""
    repository = words[0] if words else ""
    rows = image_listing.images(
        engine, repository, all=values.all, filters=values.filter, trunc=not values.no_trunc
    )
    columns = ("Repository", "Tag", *(["Digest"] if values.digests else []), "ID", "CreatedSince", "Size")
    quiet = "ID" if values.quiet else None
    print(table.formatted(rows, values.format, HEADERS, columns, quiet), end="", flush=True)
    for problem in engine.images.damaged():
        print(f"minicontainer: {problem}", file=sys.stderr)


def history(engine: Engine, values: Values, words: list[str]) -> None:
    """Show how an image came to be."""
    rows = image_listing.steps(engine, words[0], human=values.human, trunc=not values.no_trunc)
    columns = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")
    headers = HISTORY_HEADERS if values.human else {**HISTORY_HEADERS, "CreatedSince": "CREATED AT"}
    print(table.formatted(rows, values.format, headers, columns, "ID" if values.quiet else None), end="")


def tag(engine: Engine, values: Values, words: list[str]) -> None:
    """Give an image one more name."""
    engine.tag_image(words[0], words[1])


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
    events.of_image(engine.root, "import", image)
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


def prune(engine: Engine, values: Values, _: list[str]) -> None:
    """Remove images that nobody needs."""
    what = "images without at least one container associated to them" if values.all else "dangling images"
    if not values.force and not confirm.confirmed(f"This will remove all {what}."):
        return
    removed = engine.prune_images(values.all, values.filter)
    if removed.lines:
        print("Deleted Images:")
        for line in removed.lines:
            print(f"{line[0].lower()}{line[1:]}")
        print()
    print(f"Total reclaimed space: {units.human_size(removed.freed, 4)}")


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
            Flag("f", "filter", LIST, "Filter output based on conditions provided", metavar="filter"),
            Flag("", "format", STRING, "Pretty-print images using a Go template"),
            Flag("", "no-trunc", BOOL, "Don't truncate output"),
            Flag("q", "quiet", BOOL, "Only show image IDs"),
        ),
        images,
        most=1,
        completes="images",
    ),
    "history": Command(
        "history",
        "[OPTIONS] IMAGE",
        "Show the history of an image",
        (
            Flag("", "format", STRING, "Pretty-print using a Go template, or table TEMPLATE, or json"),
            Flag("H", "human", BOOL, "Print sizes and dates in human readable format", default=True),
            Flag("", "no-trunc", BOOL, "Don't truncate output"),
            Flag("q", "quiet", BOOL, "Only show image IDs"),
        ),
        history,
        least=1,
        most=1,
        completes="images",
    ),
    "image prune": Command(
        "image prune",
        "[OPTIONS]",
        "Remove unused images",
        (
            Flag("a", "all", BOOL, "Remove all unused images, not just dangling ones"),
            Flag("", "filter", LIST, 'Provide filter values (e.g. "until=<timestamp>")', metavar="filter"),
            Flag("f", "force", BOOL, "Do not prompt for confirmation"),
        ),
        prune,
        most=0,
    ),
    "tag": Command(
        "tag",
        "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        (),
        tag,
        least=2,
        most=2,
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
