"""Write tests/assets/distances.safetensors: what fadtk, kadtk, prdc and vendi-score say of the same features.

    pip install --no-deps fadtk==1.1.0 kadtk==1.1.0 prdc==0.2 vendi-score==0.0.3     into an environment with torch, scikit-learn
    python -m tests.oracle.distance_goldens                                          from the root; a few seconds

Only the functions that compute are used. What the packages load beside them (audio models, loggers) is replaced by empty modules.
"""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import scipy
import torch
from prdc import compute_prdc
from safetensors.numpy import save_file


NEIGHBOURS = 5
LIMIT_STEPS, LIMIT_LEAST = 25, 40
ASSET = Path(__file__).resolve().parent.parent / "assets" / "distances.safetensors"


def features() -> tuple[np.ndarray, np.ndarray]:
    """Generated [90, 24] and reference [120, 24], far from 0 and of unlike scales, as those of a model are; overlapping."""
    generator = np.random.default_rng(0)
    mix = generator.standard_normal((24, 24))
    centre = 5 * generator.standard_normal(24)
    generated = 0.8 * generator.standard_normal((90, 24)) @ mix + centre + 0.7
    reference = generator.standard_normal((120, 24)) @ mix + centre
    return generated.astype(np.float32), reference.astype(np.float32)


def part_of(package: str, name: str) -> types.ModuleType:
    """The file `name` of a package, with empty modules in place of those that it imports and that compute nothing here."""
    folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
    for missing in ("torchaudio", "hypy_utils", "hypy_utils.tqdm_utils", "hypy_utils.logging_utils", "oracle_part",
                    "oracle_part.model_loader", "oracle_part.utils", f"{package}.emb_loader", f"{package}.model_loader",
                    "vendi_score.data_utils"):  # fmt: skip
        module = types.ModuleType(missing)
        for attribute in ("write", "tq", "tmap", "ModelLoader", "EmbeddingLoader", "setup_logger", "find_sox_formats",
                          "PathLike"):  # fmt: skip
            setattr(module, attribute, lambda items=None, *args, **kwargs: items)
        module.__path__ = []
        sys.modules.setdefault(missing, module)
    if package not in sys.modules:
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = [str(folder)]
    spec = importlib.util.spec_from_file_location(f"oracle_part.{package}_{name}", folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fadtk_limit(fad, generated: np.ndarray, reference: np.ndarray) -> tuple[float, float, float]:
    """`score_inf` of fadtk on subsets without replacement, from the seeded generator that the test uses too."""
    generator = np.random.default_rng(0)
    sizes, scores = [int(n) for n in np.linspace(LIMIT_LEAST, len(generated), LIMIT_STEPS)], []
    target = fad.calc_embd_statistics(reference)
    for size in sizes:
        subset = generated[generator.choice(len(generated), size, replace=False)]
        scores.append(fad.calc_frechet_distance(*target, *fad.calc_embd_statistics(subset)))
    inverse, scores = 1 / np.array(sizes), np.array(scores)
    slope, limit = np.polyfit(inverse, scores, 1)
    r2 = 1 - np.sum((scores - (slope * inverse + limit)) ** 2) / np.sum((scores - scores.mean()) ** 2)
    return limit, slope, r2


def main() -> None:
    generated, reference = (rows.astype(np.float64) for rows in features())
    fad, kad, vendi = part_of("fadtk", "fad"), part_of("kadtk", "kad"), part_of("vendi_score", "vendi")
    if not hasattr(scipy.sparse, "csr"):  # a name that newer SciPy no longer has
        scipy.sparse.csr = types.SimpleNamespace(csr_matrix=scipy.sparse.csr_matrix)
    tensors = map(torch.from_numpy, (generated, reference))
    prdc = compute_prdc(reference, generated, NEIGHBOURS)
    found = {
        "frechet": fad.calc_frechet_distance(*fad.calc_embd_statistics(reference), *fad.calc_embd_statistics(generated)),
        "frechet_limit": fadtk_limit(fad, generated, reference),
        "kernel": kad.calc_kernel_audio_distance(*tensors, (None, None), "cpu", precision=torch.float64),
        "bandwidth": kad.median_pairwise_distance(torch.from_numpy(reference)),
        "vendi": vendi.score_X(generated),
        "vendi_dual": vendi.score_dual(generated),
        **prdc,
    }
    arrays = {name: np.atleast_1d(np.asarray(value, dtype=np.float64)) for name, value in found.items()}
    save_file({"generated": features()[0], "reference": features()[1], **arrays}, ASSET)
    for name, value in arrays.items():
        print(f"{name:14} {value}")


if __name__ == "__main__":
    main()
