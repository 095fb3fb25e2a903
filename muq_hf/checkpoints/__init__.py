"""Weights that come with the package: small, trained on free music by `research/checkpoints/train.py`, under CC-BY-SA-4.0.

They are neither the weights of MuQ's authors nor those of the paper.
"""

import sys
from pathlib import Path


MUQ_TINY = str(Path(__file__).parent / "muq-tiny")  # strings: `pipeline` takes no Path
MUQ_MULAN_TINY = str(Path(__file__).parent / "muq-mulan-tiny")

OWN = (MUQ_TINY, MUQ_MULAN_TINY)


def or_own(model: str | None, own: str, revision: str | None = None) -> str:
    """→ `model`, or if none is named the folder `own`, after a line on stderr that says whose weights these are.

    Raises ValueError for a folder that is not there, and for a revision without a model: only models on the Hub have some.
    """
    if model is None:
        if revision is not None:
            raise ValueError(f"--revision {revision} needs --model: the weights that come with the package have no revisions.")
        say_whose(own)
        return own
    if (Path(model).is_absolute() or model.startswith(".") or model.count("/") > 1) and not Path(model).exists():
        raise ValueError(f"there is no folder {model}: give one with config.json in it, or a Hub id, OWNER/NAME.")
    return model


def say_whose(own: str) -> None:
    print(
        f"Model: {short_name(own)}, muq_hf's own small weights (CC-BY-SA-4.0). They are neither those of MuQ's authors nor those "
        "of the paper.",
        file=sys.stderr,
    )


def short_name(model: str) -> str:
    """What tables call a model: of the package's own the name without its place on this machine."""
    return Path(model).name if model in OWN else model


def of_this_installation(model: str) -> str:
    """For a folder of the package's own weights in another installation, that is gone, the same folder in this one."""
    path = Path(model)
    moved = [own for own in OWN if path.name == Path(own).name and path.parent.name == Path(own).parent.name]
    return moved[0] if moved and not path.is_dir() else model
