"""The import arrows of the package, read from the source: who may know whom. Each test lists its offenders."""

import ast
import sys
from pathlib import Path


PACKAGE = Path(__file__).parent.parent / "muq_hf"
FILES = sorted(PACKAGE.rglob("*.py"))
MODELS = PACKAGE / "models"
ALLOWED_IN_MODELS = {"torch", "transformers", "numpy", "safetensors", "huggingface_hub"}
FRAGILE = {"torchaudio", "librosa", "nnAudio", "easydict", "x_clip", "muq"}

# Arrows point down this list: a room may import from those below it, and from the rooms named beside it.
FLOORS = (
    {"__main__"},
    {"cli"},
    {"commands"},
    {"serving", "onnx"},
    {"hub", "inference", "training"},
    {"evaluation"},
    {"__init__"},
    {"registration", "compat"},
    {"dispatch", "loader"},
    {"checkpoints", "audio"},
    {"storage"},
    {"models"},
    {"devices", "allocator", "version"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(file: Path) -> str:
    relative = file.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(file: Path):
    """(level, module, names) of every import, those in functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield 0, alias.name, []


def imported_files(file: Path) -> set[Path]:
    """Files of the package that `file` imports, wherever the import stands."""
    found = set()
    for level, module, names in imports(file):
        if not level:
            continue
        base = file.parent if level == 1 else file.parents[level - 1]
        target = base.joinpath(*module.split(".")) if module else base
        for candidate in [target, *(target / name for name in names)]:
            if candidate.with_suffix(".py").is_file():
                found.add(candidate.with_suffix(".py"))
            elif candidate == target and (candidate / "__init__.py").is_file():
                found.add(candidate / "__init__.py")
    return found - {file}


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


def test_models_import_siblings_and_a_few_libraries_only():
    """What lies in `models` is the code inside exported folders, where nothing else of the package is."""
    siblings = {file.stem for file in MODELS.glob("*.py")}
    offenders = []
    for file in MODELS.glob("*.py"):
        for level, module, names in imports(file):
            if level and (level > 1 or module not in siblings):
                offenders.append(f"{file.name} imports {'.' * level}{module} {names}")
            if not level and module not in guarded(file):
                if module.split(".")[0] not in ALLOWED_IN_MODELS | sys.stdlib_module_names:
                    offenders.append(f"{file.name} imports {module}")
    assert offenders == []


def test_arrows_between_rooms_point_down():
    offenders = []
    for file in FILES:
        room = room_of(file)
        for target in imported_files(file):
            other = room_of(target)
            if other != room and FLOOR[other] <= FLOOR[room]:
                offenders.append(f"{file.relative_to(PACKAGE)} imports {target.relative_to(PACKAGE)}")
    assert offenders == []


def test_no_circle_of_files():
    """A file is taken off once all that it imports is off; what stays behind imports itself in the end."""
    left = {file: imported_files(file) for file in FILES}
    while removable := [file for file, targets in left.items() if not targets & left.keys()]:
        for file in removable:
            del left[file]
    assert sorted(str(file.relative_to(PACKAGE)) for file in left) == []


def test_no_command_imports_another():
    """They share `extras` and the like, which are no commands: they have no `run`."""
    offenders = []
    for file in (PACKAGE / "commands").glob("*.py"):
        for target in imported_files(file):
            if target.parent.name == "commands" and "\ndef run(" in target.read_text():
                offenders.append(f"{file.name} imports {target.name}")
    assert offenders == []


def test_the_package_does_not_import_itself_by_its_full_name():
    offenders = [f"{file.name}: {module}" for file in FILES for level, module, _ in imports(file) if not level]
    assert [line for line in offenders if line.split(": ")[1].split(".")[0] == PACKAGE.name] == []


def test_configuration_knows_no_model():
    offenders = [
        f"{file.name} imports {target.name}"
        for file in MODELS.glob("configuration_muq*.py")
        for target in imported_files(file)
        if target.name.startswith(("modeling", "conformer", "pipeline"))
    ]
    assert offenders == []


def test_no_fragile_library_is_on_a_users_path():
    found = [(file.name, module) for file in FILES for level, module, _ in imports(file) if not level]
    assert [item for item in found if item[1].split(".")[0] in FRAGILE] == []


def test_no_two_files_of_one_name():
    names = [file.name for file in FILES if file.stem not in ("__init__", "__main__")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_no_file_is_longer_than_one_sitting_reads():
    assert [file.name for file in FILES if len(file.read_text().splitlines()) > 400] == []
