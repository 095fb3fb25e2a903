"""mycelium-ai's two embedding classes, as its wheel holds them, over `muq_hf.compat`; prints what they give as JSON.

python mycelium_worker.py FOLDER_OF_THE_UNPACKED_WHEEL MUQ MULAN CLIP...
"""

import json
import sys
from pathlib import Path


unpacked, muq, mulan, *clips = sys.argv[1:]
sys.path.insert(0, unpacked)

import muq_hf.compat  # noqa: E402


muq_hf.compat.install()

from mycelium.infrastructure.model.muq import MuQEmbeddingGenerator  # noqa: E402
from mycelium.infrastructure.model.muq_mulan import MuQMuLanEmbeddingGenerator  # noqa: E402


files = [Path(clip) for clip in clips]
music = MuQEmbeddingGenerator(muq, chunk_duration_s=5, micro_batch_size=2)
joint = MuQMuLanEmbeddingGenerator(mulan, chunk_duration_s=5, micro_batch_size=2)
found = {
    "muq": [music.generate_embedding(file) for file in files],
    "mulan": [joint.generate_embedding(file) for file in files],
    "texts": joint.generate_text_embedding_batch(["a baroque orchestra", "heavy metal"]),
}
music.unload_model()
joint.unload_model()
print(json.dumps(found))
