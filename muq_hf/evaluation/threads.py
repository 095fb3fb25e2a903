"""How many threads a sum may use."""

from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(number: int):
    """`number` of torch's threads, for this thread and those that start within."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
