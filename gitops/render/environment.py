"""One Jinja2 environment for all templates: they print, Python decides."""

from __future__ import annotations

from functools import lru_cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gitops.assets import folder


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Unknown names are errors, and the delimiters `[% %]`, `[[ ]]`, `[# #]` are not Ansible's."""
    return Environment(  # noqa: S701 - what is rendered is YAML and haproxy.cfg, never HTML
        loader=FileSystemLoader(folder("templates")),
        undefined=StrictUndefined,
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
