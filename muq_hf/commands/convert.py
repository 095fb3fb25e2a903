"""`muq-hf convert`: published checkpoints and Hub folders."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, (summary, names) in KINDS.items():
        kind = kinds.add_parser(name, help=summary, description=summary)
        for argument, explanation in names.items():
            kind.add_argument(argument, help=explanation)
        for option, explanation in OPTIONS.get(name, {}).items():
            kind.add_argument(f"--{option}", help=explanation)
        kind.add_argument("--license", dest="licence", help="licence of the weights, for the model card (as the Hub names it)")
        kind.add_argument("--base-model", help="Hub id of the weights' origin, for the model card")


OUTPUT = "new folder"
KINDS = {
    "muq": (
        "a published MuQ → a folder that the Auto classes load",
        {"source": "folder or Hub id, for instance OpenMuQ/MuQ-large-msd-iter", "output": OUTPUT},
    ),
    "musicfm": (
        "a published MusicFM → a folder that the Auto classes load",
        {"weights": "pretrained_msd.pt", "stats": "msd_stats.json", "output": OUTPUT},
    ),
    "muq-mulan": (
        "a published MuQ-MuLan → one self-contained folder that the Auto classes load",
        {"source": "folder or Hub id, for instance OpenMuQ/MuQ-MuLan-large", "output": OUTPUT},
    ),
    "hub": (
        "a model folder → the same with its code inside, ready for `hf upload`",
        {"model": "folder of a saved or converted model", "output": OUTPUT},
    ),
}
OPTIONS = {
    "muq-mulan": {
        "audio": "folder or Hub id with the music encoder's config.json; default: the one that the source names",
        "text": "folder or Hub id with the text encoder's config.json and tokenizer; default: the one that the source names",
    },
}


def run(arguments: argparse.Namespace) -> int:
    from ..hub.conversion import convert_muq, convert_muq_mulan, convert_musicfm
    from ..hub.hub_folder import export_hub

    functions = {"muq": convert_muq, "musicfm": convert_musicfm, "muq-mulan": convert_muq_mulan, "hub": export_hub}
    places = [getattr(arguments, name) for name in KINDS[arguments.kind][1]]
    options = {option: getattr(arguments, option) for option in OPTIONS.get(arguments.kind, {})}
    functions[arguments.kind](*places, **options, licence=arguments.licence, base_model=arguments.base_model)
    print(f"Wrote {arguments.output}.")
    return 0
