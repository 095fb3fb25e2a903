"""The README as a newcomer reads it: every block pasted in order, in a fresh environment made by its install line."""

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pages
import pytest


ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
OUTPUTS = [code for language, code in re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE) if not language]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "*.egg-info", "build", "__pycache__", "demo", "site")


@pytest.fixture(scope="module")
def pasted(tmp_path_factory) -> str:
    """What the blocks print, in a copy of the checkout and an empty environment."""
    folder = tmp_path_factory.mktemp("newcomer")
    shutil.copytree(ROOT, folder / "muq_hf", ignore=LEFT_OUT)
    venv.create(folder / "environment", with_pip=True)
    binaries = folder / "environment" / "bin"
    blocks = "".join(f"```{language}\n{code}```\n" for _, language, code in pages.blocks(TEXT))
    install, rest = re.match(r"(```bash\n.*?```\n)(.*)", blocks, re.DOTALL).groups()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HF_HUB_OFFLINE")}
    environment["PATH"] = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    said = ""
    for python, block in ((sys.executable, install), (binaries / "python", rest)):  # before the install there is nothing there
        page = folder / "page.md"
        page.write_text(block, encoding="utf-8")
        run = subprocess.run(
            [python, pages.__file__, page], cwd=folder / "muq_hf", env=environment, capture_output=True, text=True, timeout=900
        )
        assert run.returncode == 0, f"{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
        said += run.stdout
    return said


@pytest.mark.slow
def test_every_block_runs_when_it_is_pasted(pasted):
    assert pasted.count("--- page.md") == len(pages.blocks(TEXT))


@pytest.mark.slow
def test_the_blocks_print_what_the_readme_shows(pasted):
    """Scores may differ in the last digit from one processor to another."""
    shown = [line for output in OUTPUTS for line in output.splitlines()]
    printed = pasted.splitlines()
    missing = [line for line in shown if not any(_alike(line, other) for other in printed)]
    assert shown and missing == []


def _alike(shown: str, printed: str) -> bool:
    numbers = re.compile(r"[-+]?\d+\.\d+")
    paths = re.compile(r"\S*/(?=examples/)")  # a reader's folder is not ours
    shown, printed = paths.sub("", shown).strip(), paths.sub("", printed).strip()
    if numbers.sub("#", shown) != numbers.sub("#", printed):
        return False
    pairs = zip(numbers.findall(shown), numbers.findall(printed), strict=True)
    return all(abs(float(a) - float(b)) <= 0.02 for a, b in pairs)


def test_it_can_be_read_to_the_end():
    assert len(TEXT.splitlines()) <= 130


def test_links_are_absolute_and_lead_to_files_of_the_repository():
    targets = re.findall(r"\]\(([^)#\s]+)", TEXT)
    here = [target.split("/main/", 1)[1] for target in targets if "muq-hf/muq_hf/" in target]
    assert [target for target in targets if not target.startswith("https://")] == []
    assert [path for path in here if not (ROOT / path).exists()] == []


def test_no_auto_class_is_shown_with_a_published_id():
    for line in TEXT.splitlines():
        assert not re.search(r"Auto\w+\.from_pretrained\(.OpenMuQ", line)
