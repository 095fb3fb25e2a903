"""What tells sentence-transformers, and mteb with it, that a MuQ-MuLan folder embeds music and text."""

import json
from pathlib import Path


FILES = {
    "modules.json": [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}],
    "sentence_bert_config.json": {
        "transformer_task": "feature-extraction",
        "modality_config": {
            "text": {"method": "get_text_features", "method_output_name": "pooler_output"},
            "audio": {"method": "get_audio_features", "method_output_name": "pooler_output"},
        },
        "module_output_name": "sentence_embedding",
    },
    "config_sentence_transformers.json": {"model_type": "SentenceTransformer", "similarity_fn_name": "cosine"},
}


def write_sentence_transformers_files(folder: Path) -> None:
    """Write them beside a saved MuQ-MuLan."""
    for name, content in FILES.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
