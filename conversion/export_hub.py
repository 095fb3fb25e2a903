"""`muq-hf export hub` for a checkout without installation. Arguments: `python -m conversion.export_hub --help`."""

import sys

from muq_hf.cli import main


if __name__ == "__main__":
    sys.exit(main(["export", "hub", *sys.argv[1:]]))
