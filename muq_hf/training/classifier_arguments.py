"""Settings of `muq-hf train classifier`."""

from dataclasses import dataclass, field


TUNINGS = ("frozen", "lora", "full")


@dataclass
class ClassifierArguments:
    encoder: str | None = field(
        default=None, metadata={"help": "folder or Hub id of the MuQ to start from; default: the package's muq-tiny"}
    )
    label: str | None = field(default=None, metadata={"help": "key of the manifest's labels to learn; default: the only one"})
    kind: str | None = field(
        default=None, metadata={"help": "kind of the label where the manifest does not tell: key, pitch, tempo, chord"}
    )
    tune: str = field(default="frozen", metadata={"help": '"frozen": the head alone; "lora": adapters in the encoder; "full"'})
    weighted_layers: bool = field(default=True, metadata={"help": "classify from a learned mean of all hidden states"})
    pool: str = field(default="mean", metadata={"help": "of a clip's frames: mean, mean+std or attention"})
    head_layers: int = field(default=1, metadata={"help": "1, or 2 for a hidden layer before the classes"})
    head_size: int = field(default=256, metadata={"help": "width of the head"})
    head_dropout: float = field(default=0.1, metadata={"help": "before the classes"})
    class_weights: bool = field(default=False, metadata={"help": "rare classes count as much as frequent ones"})
    mixup: float = field(default=0.0, metadata={"help": "mix pairs of clips by a share from Beta(mixup, mixup); 0: do not"})
    augment_gain_db: float = field(default=0.0, metadata={"help": "make each clip louder or softer by up to this (dB)"})
    augment_noise_db: float | None = field(
        default=None, metadata={"help": "add white noise, at signal-to-noise ratios from this (dB) to 40 dB more"}
    )
    lora_rank: int = field(default=8, metadata={"help": "of the adapters"})
    lora_targets: list[str] = field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"],
        metadata={"help": "linear layers of the encoder that get adapters"},
    )
    encoder_learning_rate: float | None = field(
        default=None, metadata={"help": "of what is trained in the encoder; default: a third of `learning_rate`"}
    )
    metric: str | None = field(
        default=None,
        metadata={
            "help": "chooses the best epoch: accuracy, macro_f1, roc_auc, pr_auc, r2, srcc, pcc, f_measure ...; default: usual"
        },
    )
    patience: int = field(default=8, metadata={"help": "evaluations without a better score after which training ends; 0: never"})

    def __post_init__(self):
        if self.tune not in TUNINGS:
            raise ValueError(f"`tune` must be one of {', '.join(TUNINGS)}, got {self.tune!r}.")
        if self.mixup < 0 or self.patience < 0:
            raise ValueError(f"`mixup` and `patience` must not be negative, got {self.mixup} and {self.patience}.")
