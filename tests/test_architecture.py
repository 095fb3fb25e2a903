"""docs/architecture.md shows the package as it is."""

import subprocess
import sys
from pathlib import Path


ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_tree_and_arrows_are_those_of_the_files():
    drawing = subprocess.run(
        [sys.executable, ROOT / "docs" / "architecture.py", "--check"], capture_output=True, text=True, timeout=60
    )
    assert drawing.returncode == 0, drawing.stderr


def test_every_module_stands_in_the_tree():
    tree = PAGE.split("```")[1]
    modules = [file for file in (ROOT / "muq_hf").rglob("*.py") if file.name != "__init__.py"]
    assert [file.name for file in modules if f" {file.name} " not in tree] == []


def test_every_module_says_its_job():
    lines = [line for line in PAGE.split("```")[1].splitlines()[1:] if line.strip()]
    assert [line for line in lines if len(line.split()) < 3 and line != "muq_hf/"] == []
