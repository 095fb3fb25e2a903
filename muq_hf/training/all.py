"""All three stages from one configuration; a run that was cut off continues at the stage where it stopped."""

import sys


if __name__ == "__main__":
    from .command import main

    sys.exit(main("all"))
