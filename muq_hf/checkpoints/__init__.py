"""Weights that come with the package: small, trained on free music by `examples/checkpoints/train.py`, under CC-BY-SA-4.0.

They are neither the weights of MuQ's authors nor those of the paper.
"""

import sys
from pathlib import Path


MUQ_TINY = str(Path(__file__).parent / "muq-tiny")  # strings: `pipeline` takes no Path
MUQ_MULAN_TINY = str(Path(__file__).parent / "muq-mulan-tiny")


def or_own(model: str | None, own: str) -> str:
    """→ `model`, or if none is named the folder `own`, after one line on stderr that says whose weights these are."""
    if model is not None:
        return model
    print(
        f"No model named: taking {Path(own).name}, muq_hf's own small weights (CC-BY-SA-4.0). They are neither those of MuQ's "
        "authors nor those of the paper.",
        file=sys.stderr,
    )
    return own
