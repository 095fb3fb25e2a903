"""The code inside an exported folder: the modules of `models` that its entries need, as transformers loads them."""

import ast
from pathlib import Path

from ..models import OLDEST_TRANSFORMERS, TOO_OLD


CODE = Path(__file__).parent.parent / "models"

# Before all other imports of a file that transformers loads first: a name that it lacks must not be what the user reads.
VERSION_CHECK = f'''\
import transformers


if int(transformers.__version__.split(".")[0]) < {OLDEST_TRANSFORMERS.split(".")[0]}:
    raise ImportError(f"{TOO_OLD.format("{transformers.__version__}")}")

'''
# Some versions copy only what this text names, and not what those modules import in their turn.
NEEDED_MODULES = '''

# transformers finds here which modules to copy before it runs this file.
_NEEDED_MODULES = """
{lines}
"""
'''


def write_code(entries: list[str], folder: Path) -> None:
    """Write the modules that `module.Class` entries need into `folder`.

    Those of the entries begin with a check of transformers' version and end with the names of all modules that they need.
    """
    for module in sorted(needed_modules(entries)):
        text = (CODE / f"{module}.py").read_text("utf-8")
        if module in {entry.split(".")[0] for entry in entries}:
            others = sorted(needed_modules([module]) - {module})
            lines = "\n".join(f"from .{other} import *" for other in others)
            text = _with_version_check(text) + (NEEDED_MODULES.format(lines=lines) if others else "")
        (folder / f"{module}.py").write_text(text, "utf-8")


def needed_modules(entries: list[str]) -> set[str]:
    """Names of the modules that `module.Class` entries need, found by following their relative imports."""
    waiting, found = {entry.split(".")[0] for entry in entries}, set()
    while waiting:
        module = waiting.pop()
        found.add(module)
        tree = ast.parse((CODE / f"{module}.py").read_text("utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1}
        waiting |= imported - found
    return found


def _with_version_check(text: str) -> str:
    """The check goes between a module's docstring and its first import."""
    docstring = ast.parse(text).body[0]
    lines = text.splitlines(keepends=True)
    return "".join(lines[: docstring.end_lineno]) + "\n" + VERSION_CHECK + "".join(lines[docstring.end_lineno :]).lstrip("\n")
