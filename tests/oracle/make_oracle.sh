#!/usr/bin/env bash
# Build the oracle: the published package `muq` 0.1.0 with transformers 4.48.3 in a virtual environment of its own.
#
#   bash tests/oracle/make_oracle.sh DIR          (PYTHON=python3.11 picks the interpreter; 3.10 to 3.12)
#
# Safe to run again: what is there already is kept. About 1 GB. A CPU build of torch is enough; where the default index
# offers only CUDA builds, add the index with the CPU wheels through PIP_EXTRA_INDEX_URL.
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi
venv=$1
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
python="$venv/bin/python"

constraints="$venv/constraints.txt"
cat > "$constraints" <<'END'
torch==2.13.0
transformers==4.48.3
huggingface_hub==0.36.2
tokenizers==0.21.4
numpy==2.4.6
END

install() {
    "$python" -m pip install --quiet --constraint "$constraints" "$@"
}

# torch first and alone, so that no later requirement can choose another build of it.
install torch==2.13.0 numpy
install transformers==4.48.3 huggingface_hub safetensors
# What muq 0.1.0 really imports of its requirements (librosa, soundfile, nnAudio and tqdm are never imported).
install einops==0.8.1 easydict==1.13 "setuptools<81" wheel
install beartype ftfy regex
install --no-deps torchaudio==2.11.0 x_clip==0.14.4
install --no-deps --no-build-isolation muq==0.1.0

site=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')

# torchaudio's compiled parts are linked against CUDA and one torch release; the mel transforms are pure Python.
find "$site/torchaudio/lib" -name '*.so' -delete

# x_clip imports torchvision for image augmentations that muq never calls. A stand-in keeps a second CUDA wheel away;
# it has no distribution metadata, so transformers rightly takes torchvision as not installed.
if [ ! -d "$site/torchvision" ]; then
    mkdir "$site/torchvision"
    cat > "$site/torchvision/__init__.py" <<'END'
"""Stand-in for torchvision: importable, and empty."""

from . import transforms
END
    echo '"""Stand-in for torchvision.transforms: importable, and empty."""' > "$site/torchvision/transforms.py"
fi

"$python" -W ignore - <<'END'
import json

import torch
import transformers
from muq import MuQ, MuQMuLan  # noqa: F401

conformer = transformers.Wav2Vec2ConformerConfig(
    hidden_size=16, intermediate_size=16, num_attention_heads=2, num_conv_pos_embedding_groups=2,
    position_embeddings_type="rotary",
)
config = dict(
    conv_dim=4, encoder_dim=16, encoder_depth=1, stat={"melspec_2048_mean": 6.0, "melspec_2048_std": 18.0},
    w2v2_config=json.loads(conformer.to_json_string(use_diff=False)),
)
with torch.no_grad():
    frames = MuQ(config).eval()(torch.zeros(1, 24000)).last_hidden_state
print(f"oracle ready: transformers {transformers.__version__}, torch {torch.__version__}, frames {tuple(frames.shape)}")
END
