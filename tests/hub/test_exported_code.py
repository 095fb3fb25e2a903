"""The code inside exported folders meets old and new versions of transformers."""

import configparser
import importlib.metadata
import re
import sys
import types
from pathlib import Path

import pytest

import muq_hf.models
from muq_hf.hub.exported_code import needed_modules, write_code


ROOT = Path(__file__).parents[2]
ENTRIES = {
    "muq": [f"{name}_muq.X" for name in ("configuration", "modeling", "classification", "feature_extraction", "pipeline")],
    "muq_mulan": [
        f"{name}_muq_mulan.X" for name in ("configuration", "modeling", "feature_extraction", "processing", "pipeline")
    ],
}
SENTENCE = r"^MuQ needs transformers 5.0 or newer, and 4.57.6 is installed: pip install --upgrade transformers$"


@pytest.mark.parametrize("model_type", ENTRIES)
def test_every_entry_names_what_is_too_old_before_it_asks_for_anything(model_type, tmp_path, monkeypatch):
    write_code(ENTRIES[model_type], tmp_path)
    old = types.ModuleType("transformers")
    old.__version__ = "4.57.6"
    monkeypatch.setitem(sys.modules, "transformers", old)
    for entry in ENTRIES[model_type]:
        code = (tmp_path / f"{entry.split('.')[0]}.py").read_text()
        with pytest.raises(ImportError, match=SENTENCE):
            exec(compile(code, entry, "exec"), {"__name__": "remote"})


@pytest.mark.parametrize("model_type", ENTRIES)
def test_every_entry_names_all_modules_that_it_needs(model_type, tmp_path):
    """transformers copies what this pattern of its own finds in a file."""
    write_code(ENTRIES[model_type], tmp_path)
    for entry in ENTRIES[model_type]:
        module = entry.split(".")[0]
        found = re.findall(r"^\s*from\s+\.(\S+)\s+import", (tmp_path / f"{module}.py").read_text(), flags=re.MULTILINE)
        assert set(found) == needed_modules([module]) - {module}


def test_the_installed_package_names_what_is_too_old(monkeypatch):
    monkeypatch.setattr(muq_hf.models, "version", lambda name: "4.57.6")
    with pytest.raises(ImportError, match=SENTENCE):
        muq_hf.models._check_transformers()


def test_setup_asks_for_the_oldest_version_that_the_code_takes():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert f"transformers>={muq_hf.models.OLDEST_TRANSFORMERS}" in setup["options"]["install_requires"].split()
    assert importlib.metadata.version("transformers") >= muq_hf.models.OLDEST_TRANSFORMERS
