"""Builds for programs."""

from __future__ import annotations

from minicontainer.build import builder
from minicontainer.build.context import open_context
from minicontainer.build.options import Options
from minicontainer.engine import jobs
from minicontainer.engine.api import default_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minicontainer.build.report import Report
    from minicontainer.engine.engine import Engine
    from minicontainer.images.image import Image


def build_image(
    context: str,
    *tags: str,
    dockerfile: str = "",
    report: Report | None = None,
    engine: Engine | None = None,
    **options: Any,
) -> Image:
    """Build an image of the directory ``context``, or of a URL; returns it, with the names ``tags``.

    :param dockerfile: its path, if it is not ``Dockerfile`` in the context
    :param report: hears of each step (:class:`minicontainer.build.report.Report`); by default nobody does
    :param options: any of :class:`minicontainer.build.options.Options`: ``target="build"``, ``no_cache=True``, …
    :raises DockerfileError: with file and line, for a Dockerfile that cannot be read; nothing was done
    :raises StepFailed: for a step that failed; it has the image before
    :raises NotFound: without such a directory, Dockerfile or target
    """
    engine = engine or default_engine()
    with jobs.job(engine) as job, open_context(context, dockerfile, directory=job.place()) as opened:
        return builder.build(engine, opened, Options(tags=tags, **options), report)
