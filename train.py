"""The main command: `python train.py experiment=shapes`. The same as `evensight train experiment=shapes`."""

from evensight.cli import run

if __name__ == "__main__":
    run("train")
