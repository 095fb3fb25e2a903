"""`muq-hf convert muq` for a checkout without installation. Arguments: `python -m conversion.convert_muq --help`."""

import sys

from muq_hf.cli import main


if __name__ == "__main__":
    sys.exit(main(["convert", "muq", *sys.argv[1:]]))
