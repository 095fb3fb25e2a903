"""Draws the tree and the arrows of docs/architecture.md from the files: the first line of each docstring, and the imports.

python docs/architecture.py            # draws them anew
python docs/architecture.py --check    # exit code 1 if the page is not what the files say
"""

import ast
import sys
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "muq_hf"
PAGE = ROOT / "docs" / "architecture.md"
ROOMS = ("commands", "serving", "onnx", "hub", "inference", "training", "evaluation", "checkpoints", "storage", "models")
BEGIN, END = "<!-- {} -->\n", "<!-- end of {} -->"


def first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    return docstring.split("\n")[0].removesuffix(".")


def rooms() -> list[str]:
    """The folders of the package from top to bottom; those that `ROOMS` does not know come last."""
    found = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists()}
    return [room for room in ROOMS if room in found] + sorted(found - set(ROOMS))


def tree() -> str:
    """Every module of the package, room by room, with its job."""
    lines = ["muq_hf/"]
    for file in sorted(PACKAGE.glob("*.py")):
        lines.append(f"  {file.name:30} {first_line(file)}")
    for room in rooms():
        lines.append(f"  {room + '/':30} {first_line(PACKAGE / room / '__init__.py')}")
        for file in sorted((PACKAGE / room).glob("*.py")):
            if file.name != "__init__.py":
                lines.append(f"    {file.name:28} {first_line(file)}")
    return "\n".join(["```", *(line.rstrip() for line in lines), "```"])


def imported_rooms(folder: Path) -> set[str]:
    """Rooms that the files of a room import from."""
    found = set()
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 2:
                found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return found & set(rooms())


def arrows() -> str:
    rows = [f"| `{room}` | {', '.join(f'`{r}`' for r in rooms() if r in imported_rooms(PACKAGE / room))} |" for room in rooms()]
    return "\n".join(["| room | imports from |", "|---|---|", *rows])


def drawn(page: str) -> str:
    """The page with both drawings as they are now."""
    for name, drawing in (("tree", tree()), ("arrows", arrows())):
        before, rest = page.split(BEGIN.format(name))
        _, after = rest.split(END.format(name))
        page = f"{before}{BEGIN.format(name)}{drawing}\n{END.format(name)}{after}"
    return page


def main() -> int:
    page = PAGE.read_text()
    if "--check" in sys.argv:
        if drawn(page) != page:
            print("docs/architecture.md is not what the files say: run `python docs/architecture.py`.", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(drawn(page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
