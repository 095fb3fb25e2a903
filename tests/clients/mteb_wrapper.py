"""mteb's own wrapper of MuQ-MuLan, unmodified, on this package: a zero-shot task on the clips of examples/audio.

python tests/clients/mteb_wrapper.py      # with an interpreter made by make_clients.sh
"""

import sys
import tempfile
from pathlib import Path

import mteb
from mteb.cache import ResultCache
from mteb.models.model_implementations.muq_mulan_model import MuQMuLanWrapper, muq_mulan_large

import muq_hf.compat
from muq_hf import MUQ_MULAN_TINY


sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from mteb_tasks import LocalZeroShot  # noqa: E402


muq_hf.compat.install()
model = MuQMuLanWrapper(MUQ_MULAN_TINY)
model.mteb_model_meta = muq_mulan_large.model_copy(update={"name": "muq_hf/muq-mulan-tiny", "revision": "local"})
with tempfile.TemporaryDirectory() as scratch:
    results = mteb.evaluate(model, [LocalZeroShot()], cache=ResultCache(scratch))
print(f"{type(model).__name__}, {results.task_results[0].task_name}: accuracy {results.task_results[0].get_score():.3f}")
