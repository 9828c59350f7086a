"""What every page of ours is made with: templates, one style sheet and one script, in one file.

A content security policy allows this script and this style sheet by their hashes and nothing else, so
that even an escaping fault could not run what a model wrote. A page makes no request.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.report.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(folder: Path) -> Environment:
    """The templates of a folder; whatever they print is made visible first, so that none can forget it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,  # markup is left alone
    )


def page(folder: Path, template: str, styles: Sequence[str], scripts: Sequence[str], /, **shown: Any) -> str:
    """What a template of `folder` makes of what is `shown`, with the style and the script of these files."""
    made = environment(folder).get_template(template)
    return made.render(**assets(folder, styles, scripts), **shown) + "\n"


def assets(folder: Path, styles: Sequence[str], scripts: Sequence[str]) -> dict[str, str]:
    """The `style` and `script` of these files as markup, and the `policy` that allows them alone."""
    from markupsafe import Markup

    texts = {kind: _joined(folder, names) for kind, names in (("style", styles), ("script", scripts))}
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src {_hash(texts['style'])}; script-src {_hash(texts['script'])}"
    )
    ours = {name: Markup(text) for name, text in texts.items()}  # noqa: S704 - our own files
    return {"policy": policy, **ours}


def _joined(folder: Path, names: Sequence[str]) -> str:
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
