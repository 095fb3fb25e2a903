"""Weights that come with the package: small, trained on free music by `examples/checkpoints/train.py`, under CC-BY-SA-4.0.

They are neither the weights of MuQ's authors nor those of the paper.
"""

from pathlib import Path


MUQ_TINY = str(Path(__file__).parent / "muq-tiny")  # strings: `pipeline` takes no Path
MUQ_MULAN_TINY = str(Path(__file__).parent / "muq-mulan-tiny")
