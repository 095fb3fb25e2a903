"""Libraries that only some commands need."""

import importlib.util


EXTRA_OF = {  # module: the extra of this package that installs it
    "sklearn": "eval",
    "mir_eval": "eval",
    "matplotlib": "eval",
    "accelerate": "train",
    "datasets": "train",
    "peft": "train",
    "onnx": "onnx",
    "onnx_ir": "onnx",
    "onnxruntime": "onnx",
    "fastapi": "serve",
    "uvicorn": "serve",
}


def require(*modules: str) -> None:
    """Raises ImportError, with the command that installs them, for modules that are missing."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(sorted({EXTRA_OF[name] for name in missing}))
        raise ImportError(f"this needs {', '.join(missing)}: pip install 'muq-hf[{extras}]'")
