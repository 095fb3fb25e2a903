"""A class of the user's own, named as FILE.py:CLASS."""

import importlib.util
from pathlib import Path


def is_adapter(spec: str) -> bool:
    """Whether `spec` has the form FILE.py:CLASS."""
    return spec.rpartition(":")[0].endswith(".py")


def load_class(spec: str) -> type:
    """The class that FILE.py:CLASS names; the file is run. Raises ValueError if there is no such file or class."""
    file_name, _, class_name = spec.rpartition(":")
    file = Path(file_name)
    if not file.is_file():
        raise ValueError(f"there is no file {file} with an encoder {class_name!r}.")
    module_spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, class_name):
        raise ValueError(f"{file} defines no {class_name!r}.")
    return getattr(module, class_name)
