"""What each training stage uses where neither the configuration nor the command line says otherwise."""

COMMON_DEFAULTS = {
    "ddp_find_unused_parameters": False,
    "ddp_timeout": 7 * 86_400,  # s: others wait while one process stores tokens or hashes files
    "eval_strategy": "steps",
    "label_names": [],
    "logging_nan_inf_filter": False,  # a loss that is not finite stops the run
    "logging_steps": 10,
    "prediction_loss_only": True,
    "remove_unused_columns": False,
    "save_total_limit": 2,
}
STAGE_DEFAULTS = {  # arXiv 2501.01108 and its published training code
    "mel_rvq": {
        "adam_beta2": 0.999,
        "clip_seconds": 5.0,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "max_steps": 4000,
        "per_device_train_batch_size": 32,
        "weight_decay": 0.0,
    },
    "muq": {
        "adam_beta2": 0.98,
        "adam_epsilon": 1e-6,
        "clip_seconds": 30.0,
        "learning_rate": 5e-4,
        "lr_scheduler_kwargs": {"lr_end": 0.0, "power": 1.0},
        "lr_scheduler_type": "polynomial",
        "max_grad_norm": 10.0,
        "max_steps": 400_000,
        "per_device_train_batch_size": 6,
        "warmup_steps": 0.08,  # of all updates: 32,000 of the 400,000
        "weight_decay": 0.01,
    },
    "distil": {  # ours
        "adam_beta2": 0.98,
        "adam_epsilon": 1e-6,
        "channel": "mix",
        "clip_seconds": 5.0,
        "learning_rate": 5e-4,
        "lr_scheduler_kwargs": {"lr_end": 0.0, "power": 1.0},
        "lr_scheduler_type": "polynomial",
        "max_grad_norm": 1.0,
        "max_steps": 2000,
        "per_device_train_batch_size": 8,
        "warmup_steps": 0.08,
        "weight_decay": 0.01,
    },
    "classifier": {  # ours
        "clip_seconds": 10.0,
        "eval_strategy": "epoch",
        "learning_rate": 3e-4,
        "load_best_model_at_end": True,
        "logging_strategy": "epoch",
        "lr_scheduler_type": "cosine",
        "max_steps": -1,
        "num_train_epochs": 30,
        "per_device_train_batch_size": 16,
        "save_strategy": "epoch",
        "warmup_steps": 0.1,
        "weight_decay": 0.01,
    },
    "mulan": {
        "adam_beta2": 0.99,
        "clip_seconds": 10.0,
        "gradient_accumulation_steps": 10,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.5,
        "max_steps": 100_000,  # ours: the paper gives no number
        "per_device_train_batch_size": 24,
        "weight_decay": 0.0,
    },
}
