"""`python -m evensight` is the console script."""

from evensight.cli import run

if __name__ == "__main__":
    run()
