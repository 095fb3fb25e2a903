"""The options of `muq-hf train STAGE`, in groups."""

from dataclasses import dataclass, fields

from transformers import HfArgumentParser, TrainingArguments

from .arguments import STAGE_ARGUMENTS, DataArguments, flat_settings


STAGES_OF = {"all": ("mel_rvq", "muq", "latent_rvq", "iterate")}  # every other stage stands for itself
DATA, STAGE, OTHER = "Data", "Stage", "Other settings of transformers.TrainingArguments"
PANELS = {  # settings of `TrainingArguments` that a training of MuQ is likely to need, and their help
    "Optimisation": {
        "max_steps": "updates; -1: as many as --num-train-epochs gives",
        "num_train_epochs": "passes over the clips, where --max-steps is -1",
        "per_device_train_batch_size": "clips of a batch on each device",
        "gradient_accumulation_steps": "batches of one update",
        "learning_rate": "the highest",
        "lr_scheduler_type": "linear, cosine, polynomial, constant_with_warmup ...",
        "lr_scheduler_kwargs": "its arguments (JSON)",
        "warmup_steps": "updates in which the learning rate rises; below 1: a share of all",
        "weight_decay": "decoupled, as in AdamW",
        "max_grad_norm": "gradients are scaled down to this norm",
        "optim": "optimizer, by the name that transformers gives it",
        "adam_beta1": "decay of the gradients' mean",
        "adam_beta2": "decay of the mean of their squares",
        "adam_epsilon": "added to the denominator",
        "seed": "of weights, crops and masks",
        "data_seed": "of crops and masks alone; default: --seed",
    },
    "Speed and memory": {
        "bf16": "mixed precision in bfloat16",
        "fp16": "mixed precision in float16",
        "tf32": "TF32 in matrix products of NVIDIA GPUs",
        "torch_compile": "compile the model",
        "activation_checkpointing": "compute activations again in the backward pass, to save memory",
        "gradient_checkpointing": "compute activations again in the backward pass, to save memory",
        "dataloader_num_workers": "processes that read clips",
        "use_cpu": "train on the CPU where there is a GPU too",
    },
    "Logging, evaluation and checkpoints": {
        "logging_steps": "updates from one line of metrics to the next",
        "eval_strategy": "when to evaluate: no, steps or epoch",
        "eval_steps": "updates from one evaluation to the next; default: --logging-steps",
        "per_device_eval_batch_size": "clips of a batch in evaluation, on each device",
        "save_strategy": "when to write a checkpoint: no, steps, epoch or best",
        "save_steps": "updates from one checkpoint to the next",
        "save_total_limit": "checkpoints that are kept",
        "report_to": "none, tensorboard, wandb, trackio ...",
    },
}
PANEL_OF = {name: panel for panel, settings in PANELS.items() for name in settings}
HELP = {name: text for settings in PANELS.values() for name, text in settings.items()}
NOT_OFFERED = (  # set by `--output` and `--resume`, or never read by Trainer
    "output_dir",
    "resume_from_checkpoint",
    "do_train",
    "do_eval",
    "do_predict",
    "debug",
    "local_rank",
)


@dataclass(frozen=True)
class StageOption:
    """name: of the setting, with underscores; default: None where there is none, or where the stages of "all" differ.

    is_hidden: taken, and not shown by --help.
    """

    name: str
    panel: str
    help: str
    default: object
    is_flag: bool
    is_list: bool

    @property
    def is_hidden(self) -> bool:
        return self.panel == OTHER


def stage_options(stage: str) -> list[StageOption]:
    """Every setting of `stage` once, panel by panel. Raises KeyError for a stage that does not exist."""
    stages = STAGES_OF.get(stage, (stage,))
    kinds = dict.fromkeys([DataArguments, *(STAGE_ARGUMENTS[name] for name in stages), TrainingArguments])
    defaults = [flat_settings({}, name, {}) for name in stages]
    found = {}
    for kind in kinds:
        actions = {action.dest: action for action in HfArgumentParser(kind)._actions if action.nargs != 0}
        for name in (field.name for field in fields(kind)):
            action = actions.get(name)
            if action is None or name in NOT_OFFERED or name in found or "Deprecated" in (action.help or ""):
                continue
            values = [flat.get(name, action.default) for flat in defaults]
            found[name] = StageOption(
                name=name,
                panel={DataArguments: DATA, TrainingArguments: PANEL_OF.get(name, OTHER)}.get(kind, STAGE),
                help=HELP.get(name) or _first_sentence(action.help or ""),
                default=values[0] if all(value == values[0] for value in values) else None,
                is_flag=action.nargs == "?" and action.const is True and action.type is not str,
                is_list=action.nargs == "+",
            )
    panels, shown = [DATA, STAGE, *PANELS, OTHER], list(HELP)

    def position(option: StageOption) -> tuple[int, int]:
        return panels.index(option.panel), shown.index(option.name) if option.name in shown else 0

    return sorted(found.values(), key=position)


def _first_sentence(text: str) -> str:
    """The first sentence of a help text: transformers writes paragraphs."""
    return " ".join(text.replace("%%", "%").split()).split(". ")[0].rstrip(".")
