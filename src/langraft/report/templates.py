"""How every page is made: one frame, one style sheet, values escaped, nothing loaded or run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup


def fill(
    template: str, filters: Mapping[str, Callable[..., str]] | None = None, **values: Any
) -> str:
    """The page of `template`, which extends `base.html`; a value that it lacks is an error."""
    here = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=here,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters or {})
    style, _, _ = here.get_source(environment, "page.css")
    return environment.get_template(template).render(style=Markup(style), **values)
