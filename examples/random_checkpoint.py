"""Write a MuQ with random weights, to try everything that needs a model before having one.

    python examples/random_checkpoint.py OUTPUT [--preset tiny] [--seed 0]

Two runs with the same seed write the same weights. Seconds on a laptop for "tiny"; 1.3 GB on disk for "large".
"""

import argparse

import torch

from muq_hf import MuQConfig, MuQFeatureExtractor, MuQForPreTraining


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", help="folder to write")
    parser.add_argument("--preset", default="tiny", help="tiny, base or large (default: tiny)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    config = MuQConfig.from_preset(arguments.preset)
    MuQForPreTraining(config).save_pretrained(arguments.output)
    MuQFeatureExtractor.for_config(config).save_pretrained(arguments.output)
    print(f"Wrote a random {arguments.preset} MuQ (seed {arguments.seed}) to {arguments.output}.")


if __name__ == "__main__":
    main()
