"""Weights that come with the package: small, trained on free music by `research/checkpoints/train.py`, under CC-BY-SA-4.0.

They are neither the weights of MuQ's authors nor those of the paper. Wherever a command or `muq_hf.load` takes a model,
"muq-tiny" and "muq-mulan-tiny" are short for their folders.
"""

import os
import sys
from pathlib import Path


MUQ_TINY = str(Path(__file__).parent / "muq-tiny")  # strings: `pipeline` takes no Path
MUQ_MULAN_TINY = str(Path(__file__).parent / "muq-mulan-tiny")

OWN = (MUQ_TINY, MUQ_MULAN_TINY)
OWN_BY_NAME = {Path(folder).name: folder for folder in OWN}


def resolve_name(model: str | os.PathLike) -> str:
    """→ the folder of the package's own weights for their short name; any other folder or Hub id as it is.

    A folder of that name in the working directory is preferred, as transformers prefers one to a Hub id.
    """
    model = os.fspath(model)
    return model if Path(model).is_dir() else OWN_BY_NAME.get(model, model)


def model_or_default(model: str | None, default: str, revision: str | None = None) -> str:
    """→ the folder or Hub id of `model`, or the folder `default` if none is named; of own weights a line on stderr says so.

    Raises ValueError for a folder that is not there, and for a revision without a model: only models on the Hub have some.
    """
    if model is None and revision is not None:
        raise ValueError(f"--revision {revision} needs --model: the weights that come with the package have no revisions.")
    model = require_folder_or_id(default if model is None else model)
    if model in OWN:
        announce(model)
    return model


def require_folder_or_id(model: str) -> str:
    """→ `resolve_name(model)`. Raises ValueError for what can only be a folder, and is not there."""
    model = resolve_name(relocate_own_weights(model))
    if (Path(model).is_absolute() or model.startswith(".") or model.count("/") > 1) and not Path(model).exists():
        raise ValueError(
            f"there is no folder {model}: give one with config.json in it, a Hub id, OWNER/NAME, or {' or '.join(OWN_BY_NAME)}."
        )
    return model


def announce(own: str) -> None:
    """Print a line on stderr: these are the package's own weights, under which licence."""
    print(
        f"Model: {short_name(own)}, muq_hf's own small weights (CC-BY-SA-4.0). They are neither those of MuQ's authors nor those "
        "of the paper.",
        file=sys.stderr,
    )


def short_name(model: str) -> str:
    """How tables call a model: the package's own by its short name, which holds on every machine; others as they are."""
    return Path(model).name if model in OWN else model


def relocate_own_weights(model: str) -> str:
    """For a folder of the package's own weights in another installation, that is gone, the same folder in this one."""
    path = Path(model)
    moved = [own for own in OWN if path.name == Path(own).name and path.parent.name == Path(own).parent.name]
    return moved[0] if moved and not path.is_dir() else model
