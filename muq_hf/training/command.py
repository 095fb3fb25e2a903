"""`muq-hf train`, and the entry of `python -m muq_hf.training.STAGE` under torchrun."""

import argparse
import filecmp
import logging
import os
import shutil
import sys
from pathlib import Path

from ..allocator import reuse_memory
from .arguments import build_settings, command_line_overrides, flat_settings, read_config
from .iterate import LatentRVQStage, RefinedMuQStage
from .mel_rvq import MelRVQStage
from .mulan import MuLanStage
from .muq import MuQStage
from .run_folder import RunFolder


VERBS = {"mel-rvq": "mel_rvq", "muq": "muq", "iterate": "iterate", "all": "all", "mulan": "mulan"}
SINGLE_STAGES = {"mel_rvq": MelRVQStage, "muq": MuQStage, "mulan": MuLanStage}
EXIT_USER_ERROR = 2
DESCRIPTION = """\
Train MuQ from a folder of music: the tokenizer, masked prediction, refinement, or all three; or MuQ-MuLan from music and text.

  muq-hf train mel-rvq CONFIG.json --data MUSIC --output RUN    stage 1: the Mel-RVQ
  muq-hf train muq     CONFIG.json --targets RVQ …              stage 2: MuQ on its tokens
  muq-hf train iterate CONFIG.json --teacher MUQ …              stage 3: MuQ on tokens of a MuQ's latents
  muq-hf train all     CONFIG.json …                            the three in turn; without a section "iterate" two
  muq-hf train mulan   CONFIG.json --data PAIRS.jsonl …         MuQ-MuLan: {"path": …, "text": …} or {"path": …, "tags": […]}

The finished model comes into RUN/final. After an interruption the same command with --resume continues.
Several GPUs: torchrun --nproc_per_node N -m muq_hf.training.STAGE CONFIG.json … (STAGE: mel_rvq, muq, iterate, all, mulan).
"""
EPILOG = """\
Every setting can be written in CONFIG.json and overridden here: --data, --output, --resume, --clip_seconds, --seed, --max-steps,
--learning_rate, --per_device_train_batch_size, and all others of transformers.TrainingArguments; `muq-hf train all CONFIG.json
--help` lists them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("stage", choices=VERBS, help="what to train")
    parser.add_argument("config", metavar="CONFIG.json", help="settings")
    parser.add_argument("settings", nargs=argparse.REMAINDER, metavar="--name value", help="settings that override the file's")


def run(arguments: argparse.Namespace) -> int:
    settings = [argument for argument in arguments.settings if argument != "--debug"]
    final = train(VERBS[arguments.stage], arguments.config, command_line_overrides(settings))
    if int(os.environ.get("RANK", 0)) == 0:
        print(f"finished: {final}")
    return 0


def main(stage: str) -> int:
    """`python -m muq_hf.training.STAGE CONFIG.json --name value …`."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(f"usage: python -m muq_hf.training.{stage} CONFIG.json [--name value …]", file=sys.stderr)
        return EXIT_USER_ERROR
    train(stage, sys.argv[1], command_line_overrides(sys.argv[2:]))
    return 0


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
        targets = flat_settings(self.config, "muq", self.overrides).get("targets")
        if targets is None:
            targets = str(self.single(MelRVQStage, "mel_rvq", output / "mel_rvq", {}))
        model = self.single(MuQStage, "muq", output / "muq", {"targets": targets})
        if "iterate" in self.config:
            return self.iterate(output, {"teacher": str(model)})
        return self._publish(model, output)

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
        if int(os.environ.get("RANK", 0)) == 0 and not _has_weights_of(final, model):
            for left in (partial, old):
                shutil.rmtree(left, ignore_errors=True)
            shutil.copytree(model, partial, copy_function=_link_or_copy)
            if final.exists():
                final.rename(old)
            partial.rename(final)
            shutil.rmtree(old, ignore_errors=True)
        return final


def _has_weights_of(final: Path, model: Path) -> bool:
    weights = [(file, final / file.name) for file in model.glob("*.safetensors")]
    return final.exists() and all(
        copy.exists() and (copy.samefile(file) or filecmp.cmp(file, copy, shallow=False)) for file, copy in weights
    )


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
