"""evensight: image recognition models that are right for every class and every group, and for the right reason."""

__version__ = "0.1.0"
