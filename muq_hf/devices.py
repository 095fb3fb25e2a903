"""Where and in which precision a command computes."""

from contextlib import contextmanager

import torch


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(device: str) -> torch.device:
    """ "auto" → the first of cuda, mps and cpu that is available. Raises ValueError for a device that is not available."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available.get(device.partition(":")[0], False):
        there = ", ".join(name for name in available if available[name])
        raise ValueError(f"device {device!r} is not available; valid here: auto, {there}.")
    return torch.device(device)


@contextmanager
def torch_threads(number: int):
    """Limit torch's threads for a block, also in the threads that are started in it."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
