"""What a representation of music knows: probes on frozen features, retrieval, zero-shot tagging and their guards.

Nothing here is imported before it is asked for; scikit-learn, mir_eval and matplotlib come with `pip install muq-hf[eval]`.
"""

import importlib.util


def require(*modules: str) -> None:
    """Raises ImportError, with the command that installs them, for modules that are missing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"the evaluation needs {', '.join(missing)}: pip install 'muq-hf[eval]'")
