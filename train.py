"""The main command: `python train.py experiment=shapes`. The same as `evensight train experiment=shapes`."""

import sys

from evensight.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
