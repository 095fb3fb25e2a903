"""`muq-hf convert musicfm` for a checkout without installation. Arguments: `python -m conversion.convert_musicfm --help`."""

import sys

from muq_hf.cli import main


if __name__ == "__main__":
    sys.exit(main(["convert", "musicfm", *sys.argv[1:]]))
