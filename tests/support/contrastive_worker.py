"""One training step of a tiny MuQ-MuLan in one of several processes; a module of its own, so that new processes can import it."""

import os

import torch
import torch.distributed as dist
from mulan_models import music, tiny_model
from torch.nn.parallel import DistributedDataParallel


def training_inputs():
    """Four pairs, with two clips of one track among them."""
    return {
        "input_values": torch.stack([music(1.0, seed) for seed in range(4)]),
        "input_ids": torch.tensor([[0, 10, 11, 2], [0, 12, 13, 2], [0, 14, 15, 2], [0, 16, 17, 2]]),
        "audio_ids": torch.tensor([5, 6, 7, 5]),
    }


def train_step(rank, world, port_file, output):
    """Loss and gradients of one process's share of the batch. Ends the process."""
    dist.init_process_group("gloo", init_method=f"file://{port_file}", rank=rank, world_size=world)
    torch.set_num_threads(1)
    share = {name: tensor.chunk(world)[rank] for name, tensor in training_inputs().items()}
    model = DistributedDataParallel(tiny_model())
    loss = model(**share, return_loss=True).loss
    loss.backward()
    if rank == 0:
        torch.save((loss.detach(), {name: p.grad for name, p in model.module.named_parameters()}), output)
    dist.barrier()
    os._exit(0)  # freeing gloo's group beside a DistributedDataParallel can wait for ever (torch 2.13)
