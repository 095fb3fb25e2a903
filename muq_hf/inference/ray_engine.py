"""Shards handed out by Ray Data: numbers go to workers on any node of a cluster, receipts come back, nothing else.

Workers read the music and write the fragments themselves. Ray's part is `from_items` and `map_batches`.
"""

import dataclasses
import logging
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..storage.remote import Folder, StorageError
from .embed_job import EmbedJob, EmbedProgress, EmbedReport
from .embed_run import ATTEMPTS, EmbedRun
from .embedding import embed_files
from .shard_plan import ShardPlan
from .shards import Receipt, ShardWorker


logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 3  # at one shard; then it is reported and the job goes on
CPUS_PER_WORKER = 16
LOOK_EVERY_S = 10.0


def embed(
    inputs: str | os.PathLike | Iterable[str | os.PathLike],
    model: str | os.PathLike,
    output: str | os.PathLike,
    *,
    address: str | None = None,
    gpus_per_worker: float | None = None,
    cpus_per_worker: float | None = None,
    dtype: str = "float32",
    batch_size: int = 8,
    revision: str | None = None,
    **options,
) -> EmbedReport:
    """`embed_files` on a Ray cluster: `output` is a folder that every node can write, `inputs` what every node can read.

    Args:
        model: folder or Hub id that every node can load.
        address: of the cluster, "auto" for the one of this machine; None starts one here.
        gpus_per_worker: default: 1 where the cluster has GPUs, else 0.
        cpus_per_worker: decoding takes all but one of them; default: 16, or what the largest node has.
        options: of `embed_files`.

    Raises ImportError without Ray (`pip install muq_hf[ray]`), and what `embed_files` raises.
    """
    engine = RayEngine(model, revision, dtype, batch_size, address, gpus_per_worker, cpus_per_worker)
    return embed_files(inputs, model, output, revision=revision, dtype=dtype, device="cpu", engine=engine, **options)


@dataclass
class RayEngine:
    """See `embed`. (`embed_job.Engine`)"""

    model: str | os.PathLike
    revision: str | None
    dtype: str
    batch_size: int
    address: str | None
    gpus_per_worker: float | None
    cpus_per_worker: float | None

    def __post_init__(self):
        _import_ray()

    def __call__(self, run: EmbedRun, plan: ShardPlan, numbers: list[int], job: EmbedJob, progress: EmbedProgress) -> list[str]:
        ray = _import_ray()
        starts_cluster = not ray.is_initialized()
        if starts_cluster:
            ray.init(self.address, log_to_driver=False, logging_level=logging.WARNING, include_dashboard=False)
        for name in run.folder.names(ATTEMPTS):
            run.folder.delete(name)
        stopped = threading.Event()
        try:
            gpus, cpus = self._resources(ray)
            watch = threading.Thread(target=self._watch, args=(ray, run, stopped, gpus, cpus), daemon=True)
            watch.start()
            return self._collect(self._receipts(ray, run, numbers, gpus, cpus), progress)
        finally:
            stopped.set()
            if starts_cluster:
                ray.shutdown()

    def _receipts(self, ray, run: EmbedRun, numbers: list[int], gpus: float, cpus: float) -> Iterable[Receipt]:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        options = {
            "output": run.folder.place(""),
            "model": os.fspath(self.model),
            "revision": self.revision,
            "dtype": self.dtype,
            "batch_size": self.batch_size,
            "workers": max(1, int(cpus) - 1),  # at least one process: a file may kill its decoder
        }
        shards = ray.data.from_items([{"shard": number} for number in numbers], override_num_blocks=len(numbers))
        receipts = shards.map_batches(
            ShardActor,
            batch_size=1,
            num_gpus=gpus,
            num_cpus=cpus,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(numbers), max_tasks_in_flight_per_actor=2),
            fn_constructor_kwargs={"options": options},
        )
        for row in receipts.iter_rows():
            yield Receipt(**row)

    def _collect(self, receipts: Iterable[Receipt], progress: EmbedProgress) -> list[str]:
        errors = []
        for receipt in receipts:
            if receipt.stops:
                raise (StorageError if receipt.stops == "storage" else ValueError)(receipt.error)
            if receipt.error:
                errors.append(f"shard {receipt.shard}: {receipt.error}")
                logger.warning("%s", errors[-1])
            else:
                progress.on_shard(receipt.files, receipt.audio_seconds)
        return errors

    def _resources(self, ray) -> tuple[float, float]:
        """(GPUs, CPUs) of a worker."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = self.gpus_per_worker
        if gpus is None:
            gpus = 1 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0
        cpus = self.cpus_per_worker
        if cpus is None:
            cpus = min(CPUS_PER_WORKER, max((node.get("CPU", 1) for node in nodes), default=1))
        return gpus, cpus

    def _watch(self, ray, run: EmbedRun, stopped: threading.Event, gpus: float, cpus: float) -> None:
        """Say what is missing while no worker has begun a shard."""
        while not stopped.wait(LOOK_EVERY_S):
            try:
                if run.folder.names(ATTEMPTS):
                    return
                free, total = ray.available_resources(), ray.cluster_resources()
            except Exception:  # the job itself reports what is wrong with the store or the cluster
                continue
            if free.get("CPU", 0) >= cpus and free.get("GPU", 0) >= gpus:
                continue  # a worker is starting
            logger.warning(
                "no worker has begun yet: one needs %g CPUs and %g GPUs on one node; free in the cluster are %g of %g CPUs and "
                "%g of %g GPUs. Wait for other jobs, add nodes, or set --cpus-per-worker and --gpus-per-worker.",
                *(cpus, gpus, free.get("CPU", 0), total.get("CPU", 0), free.get("GPU", 0), total.get("GPU", 0)),
            )


class ShardActor:
    """A worker in a process of Ray: {"shard": [12]} → its receipt."""

    def __init__(self, options: dict):
        self._options = options
        self._folder = Folder(options["output"])
        self._worker: ShardWorker | None = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        receipt = self._attempt(int(batch["shard"][0]))
        return {name: np.array([value]) for name, value in dataclasses.asdict(receipt).items()}

    def _attempt(self, number: int) -> Receipt:
        """Attempts are counted in the folder, as one may kill this process, or its whole node."""
        error = "its worker died in each attempt"
        try:
            for attempt in range(1, MOST_ATTEMPTS + 1):
                mark = f"{ATTEMPTS}/part-{number:06d}-{attempt}"
                if self._folder.exists(mark):
                    continue
                self._folder.write(mark, b"")
                if self._worker is None:
                    try:
                        self._worker = ShardWorker(**self._options)
                    except (ValueError, ImportError) as exception:
                        return Receipt(number, error=str(exception), stops="worker")
                try:
                    return self._worker(number)
                except StorageError:
                    raise
                except Exception as exception:
                    error = f"{type(exception).__name__}: {exception}"
                    logger.exception("shard %d, attempt %d", number, attempt)
        except StorageError as exception:
            return Receipt(number, error=str(exception), stops="storage")
        return Receipt(number, error=f"given up after {MOST_ATTEMPTS} attempts: {error}")


def _import_ray():
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("--engine ray needs Ray: pip install muq_hf[ray]") from error
    return ray
