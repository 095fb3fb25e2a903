#!/usr/bin/env bash
# An environment with mteb, fadtk and kadtk as they are on PyPI, and what they give on the clips of examples/audio (docs/clients.md).
#
#   bash tests/clients/make_clients.sh DIR          (PYTHON picks an interpreter that has this package with its `dev` extra)
#
# The toolkits ask for versions of transformers, torch and numpy that exclude each other and this package, and do not need them: so they
# come without their requirements, beside the packages of PYTHON.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$1
shared=${PYTHON:-python3}

"$shared" -m venv --without-pip "$venv"
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$shared" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/shared.pth"
install() { "$shared" -m pip --python "$venv/bin/python" install --quiet "$@"; }
install mteb==2.26.24
install --no-deps fadtk==1.1.0 kadtk==1.1.0 hypy-utils==1.0.29 torchlibrosa==0.1.0 torchaudio==2.11.0
find "$site/torchaudio/lib" -name '*.so' -delete # linked against another torch; what is used here is Python

sets=$(mktemp -d)
mkdir "$sets/reference" "$sets/generated"
cp examples/audio/{bach_brandenburg,folk_celtic_pride,electronic_coherence}.ogg "$sets/reference"
cp examples/audio/{metal_ezer_ev,metal_vermocsar,breakbeat_gunroar}.ogg "$sets/generated"
export PYTHONPATH=$PWD HF_HUB_OFFLINE=1 PYTHONWARNINGS=ignore
run() { "$venv/bin/python" "$@" 2> /dev/null | grep -E '^[A-Za-z_, ]+: (accuracy )?[0-9.e+-]+$'; }
run examples/fadtk_loader.py "$sets/reference" "$sets/generated"
rm -r "$sets"/*/embeddings
run examples/kadtk_loader.py "$sets/reference" "$sets/generated"
run examples/mteb_tasks.py
run tests/clients/mteb_wrapper.py
rm -r "$sets"
