"""What the site makes of the repository's pages and of docstrings; the files stay readable where the code is."""

import ast
import re
from pathlib import Path
from typing import Any

from griffe import Extension, Function, Module, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
MOVED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
"""Pages that lie beside ``docs``, and what they are called on the site."""

REFERENCE = re.compile(r":[a-z]+:(`[^`]+`)")
QUOTE = "'"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """MkDocs calls it with the files under ``docs``."""
    for source, page in MOVED.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls it with each page: links lead to where the pages lie on the site."""
    markdown = markdown.replace("](docs/", "](")
    for source, page in MOVED.items():
        markdown = markdown.replace(f"](../{source}", f"]({page}").replace(f"]({source}", f"]({page}")
    return markdown


class Docstrings(Extension):
    """References to other objects become code, and a measure's docstring begins with its name in the rows."""

    def on_module_members(self, *, mod: Module, **_: Any) -> None:
        """Griffe calls it for every module: what one passes on from another is told of there alone."""
        mod.exports = None

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Griffe calls it for every object, before any docstring is read."""
        if obj.docstring is None:
            return
        obj.docstring.value = REFERENCE.sub(r"\1", obj.docstring.value)
        if isinstance(obj, Function) and (name := _estimator(obj)):
            obj.docstring.value = f"{name}\n\n{obj.docstring.value}"


def _estimator(function: Function) -> str:
    """How the rows name what a function under ``@measure`` finds, in bold; empty for any other function."""
    for decorator in function.decorators:
        call = ast.parse(str(decorator.value), mode="eval").body
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "measure":
            given = {keyword.arg for keyword in call.keywords}
            role = ", the verdict" if "headline" in given else ", a caution" if "guard" in given else ""
            return f"**{ast.unparse(call.args[1]).removeprefix('f').strip(QUOTE)}**{role}"
    return ""
