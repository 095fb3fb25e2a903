"""What the three stages share: `transformers.Trainer` with seeded crops, sums over processes, and errors instead of NaN."""

import json
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..storage.whole_files import write_json
from .arguments import crop_seed
from .clip_shards import StreamedClips
from .clips import ClipSampler
from .tracks import check_failing_share


def stream_state_name(rank: int) -> str:
    """The file in a checkpoint that tells where the stream of a process is."""
    return f"stream-{rank}.json"


class RunningSums:
    """Tensors summed over steps, and over processes when they are read."""

    def __init__(self):
        self._sums: dict[str, torch.Tensor] = {}
        self.weight = 1  # of what is added; 0 adds the names alone, which all processes must have

    @torch.no_grad()
    def add(self, **values: torch.Tensor) -> None:
        for name, value in values.items():
            value = self.weight * (value.detach().double() if value.is_floating_point() else value.detach())
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def take(self) -> dict[str, torch.Tensor]:
        """The sums over all processes, on the CPU; starts anew."""
        sums, self._sums = self._sums, {}
        if dist.is_available() and dist.is_initialized():
            for value in sums.values():
                dist.all_reduce(value)
        return {name: value.cpu() for name, value in sums.items()}


class WaitingTime:
    """The share of wall time that is spent inside `with` blocks."""

    def __init__(self):
        self._spent, self._since, self._entered = 0.0, None, 0.0

    def __enter__(self):
        self._entered = time.perf_counter()
        self._since = self._entered if self._since is None else self._since  # not counted: what came before the first step

    def __exit__(self, *_):
        self._spent += time.perf_counter() - self._entered

    def take_share(self) -> float:
        """Since the first block or the last call; starts anew."""
        now = time.perf_counter()
        share = self._spent / (now - self._since)
        self._spent, self._since = 0.0, now
        return share


class StageTrainer(Trainer):
    """A stage adds to `self.sums` in `compute_loss` and turns them into metrics in `metrics_from`.

    Training and evaluation are summed apart; each sum is reset when it is logged.
    """

    def __init__(self, *args, run_folder, track_names: frozenset[str], max_failing_share: float, **kwargs):
        """max_failing_share: of the tracks, how many may turn out to be unreadable."""
        super().__init__(*args, **kwargs)
        self.run_folder = run_folder
        self.is_streamed = isinstance(self.train_dataset, StreamedClips)
        self.sums = {True: RunningSums(), False: RunningSums()}
        self.waiting = WaitingTime()
        if self.is_streamed:
            self._check_stream()
        else:
            batch = self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps
            self.sampler = ClipSampler(len(self.train_dataset), batch, crop_seed(self.args))
            self.add_callback(_EpochOfSampler(self.sampler))
        self.add_callback(_StopAtBrokenFiles(run_folder.skip_log, track_names, max_failing_share))
        if self.is_world_process_zero():
            self.add_callback(_MetricsFile(run_folder.metrics))

    def _check_stream(self) -> None:
        """A stream has no length and one reader a process; what was trained on before a resumption is not read again."""
        if self.args.max_steps <= 0 or self.args.dataloader_num_workers:
            raise ValueError("clips that are streamed need `max_steps`, and `dataloader_num_workers` 0.")
        self.args.ignore_data_skip = True

    def get_train_dataloader(self):
        if not self.is_streamed:
            return super().get_train_dataloader()
        return DataLoader(self.train_dataset, self.args.train_batch_size, collate_fn=self.data_collator, drop_last=True)

    def _save_checkpoint(self, model, trial):
        """Where this process's stream is comes first: a checkpoint counts once the state of the trainer is in it."""
        if self.is_streamed:
            folder = Path(self.args.output_dir, f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / stream_state_name(self.args.process_index), self.train_dataset.state_dict())
            self.accelerator.wait_for_everyone()
        super()._save_checkpoint(model, trial)

    def metrics_from(self, sums: dict[str, torch.Tensor]) -> dict[str, float]:
        raise NotImplementedError

    def _run_epoch(self, *args, **kwargs):
        """A run that had reached its last update when it was cut off is not trained further: Trainer would make one more."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _get_train_sampler(self, train_dataset=None):
        return self.sampler

    def get_batch_samples(self, *args, **kwargs):
        with self.waiting:
            return super().get_batch_samples(*args, **kwargs)

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1}; it did not reach the weights, and earlier "
                "checkpoints are whole. Lower `learning_rate`, lengthen `warmup_steps`, or set `max_grad_norm`; then --resume."
            )
        return loss

    def prediction_step(self, model, inputs, *args, **kwargs):
        """Without the clips that fill up the last batches of several processes: they would count twice.

        Who has nothing else evaluates one of them all the same, because processes wait for each other, and counts nothing.
        """
        size = len(next(iter(inputs.values())))
        num_own = self._num_own_clips(size)
        if num_own < size:
            inputs = {name: value[: max(num_own, 1)] for name, value in inputs.items()}
        self.sums[False].weight = int(num_own > 0)
        try:
            return super().prediction_step(model, inputs, *args, **kwargs)
        finally:
            self.sums[False].weight = 1

    def _num_own_clips(self, size: int) -> int:
        """Of the `size` clips of this process' batch, those that no other process has. Only the last batches have others.

        Together they hold `remainder` clips, dealt in the order of the processes; 0 says that no batch was filled up.
        """
        state = self.accelerator.gradient_state
        if self.args.world_size == 1 or not state.end_of_dataloader or state.remainder <= 0:
            return size
        return min(max(state.remainder - self.args.process_index * size, 0), size)

    def log(self, logs, start_time=None):
        is_train, is_eval = "loss" in logs, any(key.startswith("eval_") for key in logs)
        if is_train:
            logs["waiting_for_data"] = self.waiting.take_share()
        if is_train or is_eval:
            sums = self.sums[is_train].take()
            prefix = "" if is_train else "eval_"
            if sums:
                logs |= {prefix + name: value for name, value in self.metrics_from(sums).items()}
        super().log(logs, start_time)


class _EpochOfSampler(TrainerCallback):
    """Tells the sampler its epoch, which a data loader that skips batches does not do."""

    def __init__(self, sampler: ClipSampler):
        self.sampler = sampler

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.sampler.set_epoch(int((state.epoch or 0) + 1e-6))


class _StopAtBrokenFiles(TrainerCallback):
    """Stops training when too many tracks turn out to be unreadable. Files left out before training began do not count."""

    def __init__(self, log, track_names: frozenset[str], limit: float):
        self.log, self.track_names, self.limit = log, track_names, limit

    def on_log(self, args, state, control, **kwargs):
        skipped = [item for item in self.log.read() if item.name in self.track_names]
        check_failing_share(len(skipped), len(self.track_names), self.limit, skipped)


class _MetricsFile(TrainerCallback):
    """metrics.jsonl: one JSON object per log, with its step."""

    def __init__(self, path):
        self.path = path

    def on_log(self, args, state, control, logs=None, **kwargs):
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, **logs}) + "\n")
