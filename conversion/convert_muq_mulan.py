"""`muq-hf convert muq-mulan` for a checkout without installation. Arguments: `python -m conversion.convert_muq_mulan --help`."""

import sys

from muq_hf.cli import main


if __name__ == "__main__":
    sys.exit(main(["convert", "muq-mulan", *sys.argv[1:]]))
