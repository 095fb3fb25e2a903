"""What needs processes of its own: several ranks, and processes that die. Run as a script, it imports once and forks.

python tests/training_worker.py TASK ARGUMENT…
"""

import copy
import json
import os
import signal
import sys
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule, fully_shard
from training_runs import CONFIG, MODEL
from transformers import TrainerCallback

from muq_hf import MuQConfig, MuQForPreTraining
from muq_hf.models.quantization_muq import ResidualVectorQuantizer
from muq_hf.training.chain import train
from muq_hf.training.clip_shards import StreamedClips, write_clip_shards
from muq_hf.training.trainer import StageTrainer


def in_child(function, *arguments) -> int:
    """Run in a forked process → its exit code, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function(*arguments)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_ranks(world: int, port_file: str, function, *arguments) -> None:
    def start(rank):
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port_file,
        }
        function(*arguments)
        if dist.is_initialized():
            dist.barrier()  # and no more: freeing gloo's group can wait for ever (torch 2.13)

    children = []
    for rank in range(world):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                start(rank)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    if any(codes):
        raise SystemExit(f"ranks ended with {codes}")


class KillAt(TrainerCallback):
    def __init__(self, folder: str, step: int):
        self.folder, self.step = folder, step

    def on_step_end(self, args, state, control, **kwargs):
        if args.output_dir.endswith(self.folder) and state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def train_and_die(data: str, output: str, folder: str, step: int, config: dict = CONFIG) -> None:
    """Train the chain until `step` of the stage in `folder`, then die as by `kill -9`."""
    original = StageTrainer.__init__

    def patched(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.add_callback(KillAt(folder, step))

    StageTrainer.__init__ = patched
    train("all", config, {"data": data, "output_dir": output, "resume": True})


def kill_in_each_stage(data: str, unbroken: str, broken: str) -> None:
    """One chain in peace; another that is killed twice in every stage, before and after a checkpoint, and resumed."""
    codes = [in_child(train, "all", CONFIG, {"data": data, "output_dir": unbroken})]
    for folder in ("mel_rvq", "muq", "latent_rvq", "round_1/muq"):
        codes.append(in_child(train_and_die, data, broken, folder, 6))
    codes.append(in_child(train, "all", CONFIG, {"data": data, "output_dir": broken, "resume": True}))
    print(json.dumps(codes))


def two_ranks_or_one(data: str, folder: str, port: str) -> None:
    """The same updates by two processes and by one that accumulates: model without dropout, 3 updates of 4 micro-batches."""
    config = copy.deepcopy(CONFIG)
    config["muq"] |= {"targets": "random_projection", "max_steps": 3, "optim": "sgd", "learning_rate": 0.05}
    config["muq"]["model"] = MODEL | {
        "hidden_dropout": 0.0,
        "activation_dropout": 0.0,
        "attention_dropout": 0.0,
        "conv_dropout": 0.0,
    }
    config |= {"eval_strategy": "steps", "eval_steps": 3, "eval_share": 0.4, "num_eval_clips": 3}  # which fill no two batches
    config |= {"logging_steps": 1, "save_strategy": "no", "per_device_eval_batch_size": 2}
    one, two = Path(folder, "one"), Path(folder, "two")
    code = in_child(train, "muq", config, {"data": data, "output_dir": str(one), "gradient_accumulation_steps": 4})
    assert code == 0, code
    overrides = {"data": data, "output_dir": str(two), "gradient_accumulation_steps": 2}
    in_ranks(2, port, train, "muq", config, overrides)


def replace_codes(folder: str) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.manual_seed(rank)  # ranks that draw differently must still agree
    quantizer = ResidualVectorQuantizer(8, 2, 32, 4, stale_steps=2).train()
    for parameter in quantizer.parameters():
        dist.broadcast(parameter.data, 0)
    first = quantizer.steps[0].codebook.weight.clone()
    vectors = torch.randn(2, 5, 8)
    first_codes = quantizer(vectors).codes[..., 0].flatten()
    quantizer(vectors)
    torch.save({"before": first, "first_codes": first_codes, "state": quantizer.state_dict()}, Path(folder, f"rank{rank}.pt"))


def shard_fully(folder: str) -> None:
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = MuQForPreTraining(MuQConfig(**MODEL, num_codebooks=2, codebook_size=16)).eval()
    plain = copy.deepcopy(model)
    wave = torch.randn(2, 30_720)
    block_mask, noise = torch.tensor([[True, False, True], [False, True, False]]), 0.1 * torch.randn(2, 30_720)
    for layer in model.muq.encoder.layers:
        fully_shard(layer)
    fully_shard(model)
    loss = model(wave, block_mask=block_mask, mask_noise=noise).loss
    loss.backward()
    reference = plain(wave, block_mask=block_mask, mask_noise=noise).loss
    reference.backward()
    gradient = model.muq.encoder.layers[0].ffn1.up_proj.weight.grad.full_tensor()
    result = {
        "wrapped": [isinstance(layer, FSDPModule) for layer in [model, *model.muq.encoder.layers]],
        "loss": (loss.item(), reference.item()),
        "gradient": (gradient - plain.muq.encoder.layers[0].ffn1.up_proj.weight.grad).abs().max().item(),
    }
    if dist.get_rank() == 0:
        Path(folder, "fsdp.json").write_text(json.dumps(result))


def train_on_stream(config: dict, overrides: dict, record: str, die_at: int | None = None) -> None:
    """Train, and write the number of each clip that this process takes into `record`-RANK."""
    rank, item = int(os.environ.get("RANK", 0)), StreamedClips.item

    def recorded(self, row):
        with open(f"{record}-{rank}", "a") as file:
            file.write(f"{row['number']}\n")
        return item(self, row)

    StreamedClips.item = recorded
    if die_at is not None:
        original = StageTrainer.__init__

        def patched(self, *args, **kwargs):
            original(self, *args, **kwargs)
            self.add_callback(KillAt("broken", die_at))

        StageTrainer.__init__ = patched
    train("muq", config, overrides)


def stream_in_ranks(music: str, folder: str, port: str) -> None:
    """Two ranks on streamed clips: six updates in peace; then five, of which four are in a checkpoint, a kill, and the rest."""
    shards = Path(folder, "shards")
    write_clip_shards(music, shards, CONFIG["clip_seconds"], num_shards=4, eval_share=0.2)
    config = copy.deepcopy(CONFIG)
    config["muq"] |= {"targets": "random_projection", "max_steps": 6}
    config |= {"save_steps": 2, "eval_strategy": "no"}
    runs = (("whole", {}, None), ("broken", {}, 5), ("broken", {"resume": True}, None))
    for number, (name, more, die_at) in enumerate(runs):
        overrides = {"data": str(shards), "output_dir": f"{folder}/{name}", **more}
        record = f"{folder}/{name}{'-resumed' if more else ''}"
        try:
            in_ranks(2, str(int(port) + number), train_on_stream, config, overrides, record, die_at)
        except SystemExit:
            if die_at is None:
                raise


def several_ranks(data: str, folder: str, port: str) -> None:
    two_ranks_or_one(data, folder, port)
    in_ranks(2, str(int(port) + 1), replace_codes, folder)
    in_ranks(2, str(int(port) + 2), shard_fully, folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"kill": kill_in_each_stage, "ranks": several_ranks, "stream": stream_in_ranks}[sys.argv[1]](*sys.argv[2:])
