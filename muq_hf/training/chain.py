"""Runs the stages of a training, one or all in turn."""

import logging
import os
import shutil
from pathlib import Path

from ..allocator import reuse_memory
from .arguments import build_settings, flat_settings, read_config
from .distil import DistillationStage
from .iterate import LatentRVQStage, RefinedMuQStage
from .mel_rvq import MelRVQStage
from .mulan import MuLanStage
from .muq import MuQStage
from .run_folder import RunFolder, has_weights_of, link_or_copy
from .token_groups import GroupedMuQStage, GroupRVQStage


SINGLE_STAGES = {
    "mel_rvq": MelRVQStage,
    "muq": MuQStage,
    "mulan": MuLanStage,
    "distil": DistillationStage,
}


def train(stage: str, config: str | Path | dict, overrides: dict | None = None) -> Path:
    """Train one stage, or "all" → the folder of the finished model.

    config: the path of a configuration or the dictionary itself; overrides: flat settings that go before it, among them
    `output_dir` and `resume`. Raises ValueError for settings, music or checkpoints that cannot be used.
    """
    reuse_memory()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("muq_hf").setLevel(logging.INFO)
    overrides = dict(overrides or {})
    config = config if isinstance(config, dict) else read_config(config)
    resume = bool(overrides.pop("resume", False))
    output = overrides.pop("output_dir", None) or config.get("output_dir")
    if output is None:
        raise ValueError("no run folder was given: pass --output RUN, or set `output_dir` in the configuration.")
    chain = _Chain({key: value for key, value in config.items() if key != "output_dir"}, overrides, resume)
    output = Path(output)
    if stage == "all":
        return chain.all(output)
    if stage == "iterate":
        return chain.iterate(output, {})
    if stage == "classifier":
        from .classifier import ClassifierStage  # which needs the extra `eval` for its scores

        return chain.single(ClassifierStage, stage, output, {})
    if stage == "muq":
        return chain.muq(output, {})
    return chain.single(SINGLE_STAGES[stage], stage, output, {})


class _Chain:
    """Runs stages one after the other; finished ones are passed over when `resume` is set."""

    def __init__(self, config: dict, overrides: dict, resume: bool):
        self.config, self.overrides, self.resume = config, overrides, resume

    def single(self, stage_class, name: str, output: Path, links: dict, **stage_arguments) -> Path:
        """links: settings that follow from the stages before."""
        flat = flat_settings(self.config, name, {**self.overrides, **links})
        settings = build_settings(flat, name, output)
        run = RunFolder(output, is_main=settings.training.process_index == 0)
        return stage_class(settings, run, self.resume, **stage_arguments).run()

    def all(self, output: Path) -> Path:
        links = {}
        if flat_settings(self.config, "muq", self.overrides).get("targets") is None:
            links["targets"] = str(self.single(MelRVQStage, "mel_rvq", output / "mel_rvq", {}))
        model = self.muq(output / "muq", links)
        if "iterate" in self.config:
            return self.iterate(output, {"teacher": str(model)})
        return self._publish(model, output)

    def muq(self, output: Path, links: dict) -> Path:
        """Stage 2; where its targets are groups of tokens, first a quantizer for the latents of each group's teacher."""
        flat = flat_settings(self.config, "muq", {**self.overrides, **links})
        stage = build_settings(flat, "muq", output).stage
        groups = stage.targets
        if not isinstance(groups, list):
            return self.single(MuQStage, "muq", output, links)
        latents, quantizers = stage.latents or output / "latents", []
        for number, group in enumerate(groups):
            links_of_group = {"model": {"num_codebooks": group.codebooks, "codebook_size": group.size}}
            arguments = {"teacher": group.teacher, "latents": latents}
            folder = output / "quantizers" / str(number)
            quantizers.append(self.single(GroupRVQStage, "latent_rvq", folder, links_of_group, **arguments))
        return self.single(GroupedMuQStage, "muq", output, links, quantizers=quantizers, latents=latents)

    def iterate(self, output: Path, links: dict) -> Path:
        settings = build_settings(flat_settings(self.config, "iterate", {**self.overrides, **links}), "iterate", output).stage
        teacher = settings.teacher
        if teacher is None:
            raise ValueError("no teacher was given: pass --teacher MODEL, the folder of a converged MuQ.")
        for number in range(1, settings.rounds + 1):
            folder = output / f"round_{number}"
            links = {"teacher": str(teacher)}
            rvq = self.single(LatentRVQStage, "latent_rvq", folder / "latent_rvq", {}, teacher=teacher, layer=settings.layer)
            teacher = self.single(RefinedMuQStage, "iterate", folder / "muq", links, teacher=teacher, rvq=rvq)
        return self._publish(teacher, output)

    def _publish(self, model: Path, output: Path) -> Path:
        """`RUN/final`: the last stage's model, without taking its space twice where the disk can link.

        That of an earlier call, which had fewer rounds, gives way to it.
        """
        final, partial, old = output / "final", output / "final.partial", output / "final.old"
        if int(os.environ.get("RANK", 0)) == 0 and not has_weights_of(final, model):
            for left in (partial, old):
                shutil.rmtree(left, ignore_errors=True)
            shutil.copytree(model, partial, copy_function=link_or_copy)
            if final.exists():
                final.rename(old)
            partial.rename(final)
            shutil.rmtree(old, ignore_errors=True)
        return final
