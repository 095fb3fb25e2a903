"""The import arrows of the package, read from the source: who may know whom."""

import ast
import sys
from pathlib import Path

import pytest


PACKAGE = Path(__file__).parent.parent / "muq_hf"
FLAT = sorted(PACKAGE.glob("*_muq*.py"))
FLAT_MODULES = {file.stem for file in FLAT}
ALLOWED_IN_FLAT = {"torch", "transformers", "numpy", "safetensors", "huggingface_hub"}
ROOMS = {"hub", "inference", "training", "evaluation", "onnx"}
MAY_ENTER = {"cli": ROOMS, "onnx": {"hub"}}  # who may import from which rooms; nobody else from any but its own


def imports(file: Path):
    """(level, module) of every import, those in functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, []


def guarded(file: Path) -> set[str]:
    """Modules imported inside try/except, which the Hub's scanner ignores."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Try):
            for child in ast.walk(node):
                if isinstance(child, ast.Import):
                    found |= {alias.name for alias in child.names}
                elif isinstance(child, ast.ImportFrom) and child.level == 0:
                    found.add(child.module)
    return found


@pytest.mark.parametrize("file", FLAT, ids=lambda file: file.stem)
def test_flat_files_import_libraries_and_flat_siblings_only(file):
    for level, module, _ in imports(file):
        if level:
            assert level == 1
            assert module in FLAT_MODULES, f"{file.name} imports .{module}"
        elif module not in guarded(file):
            assert module.split(".")[0] in ALLOWED_IN_FLAT | sys.stdlib_module_names, f"{file.name} imports {module}"


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_rooms_do_not_reach_into_each_other(file):
    depth = len(file.relative_to(PACKAGE).parts)  # the level of an import from the package's root
    room = file.stem if depth == 1 else file.parent.name
    for level, module, names in imports(file):
        assert not (level == 0 and module.split(".")[0] == PACKAGE.name), f"{file} imports {module} by its full name"
        if level == depth:
            targets = {module.split(".")[0]} if module else {name.split(".")[0] for name in names}
            assert targets & ROOMS <= MAY_ENTER.get(room, set()), f"{file} imports {targets & ROOMS}"


def test_configuration_knows_no_model():
    for file in PACKAGE.glob("configuration_muq*.py"):
        for level, module, _ in imports(file):
            assert not (level and module.startswith(("modeling", "conformer", "pipeline"))), f"{file.name} imports {module}"


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: file.stem)
def test_no_fragile_library_is_on_a_users_path(file):
    for level, module, _ in imports(file):
        assert level or module.split(".")[0] not in {"torchaudio", "librosa", "nnAudio", "easydict", "x_clip", "muq"}
