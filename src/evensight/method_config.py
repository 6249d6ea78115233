"""The typed schema of the `method` section: a dataclass for each of `names.METHODS`. Part of `config.py`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ErmMethod:
    """Empirical risk minimisation."""

    name: str = "erm"  # a name of names.METHODS
    label_smoothing: float = 0.0  # share of the target spread over all classes
    class_weights: str = "none"  # none, or balanced: weight 1 / frequency, mean 1


@dataclass
class ResampleMethod:
    """Draws every class, level or cell alike (Idrissi et al. 2022)."""

    name: str = "resample"  # a name of names.METHODS
    label_smoothing: float = 0.0  # share of the target spread over all classes
    class_weights: str = "none"  # none: the method balances the classes by itself
    over: str = "cell"  # what is drawn alike: class, group (a level) or cell (class and level)
    attribute: str | None = None  # whose levels are the groups; null: the objective's primary, else the only one


@dataclass
class LogitAdjustmentMethod:
    """Adds what the attribute says of the class to the logits in training (Menon et al. 2021)."""

    name: str = "logit_adjustment"  # a name of names.METHODS
    label_smoothing: float = 0.0  # share of the target spread over all classes
    class_weights: str = "none"  # none: the method balances the classes by itself
    attribute: str | None = None  # whose levels are the groups; null: the objective's primary, else the only one
    tau: float = 1.0  # factor of log p(class | level)
    smoothing: float = 1.0  # images added to each cell where p is counted


@dataclass
class GroupDroMethod:
    """Weights cells by a power of their loss (Sagawa et al. 2020)."""

    name: str = "group_dro"  # a name of names.METHODS
    label_smoothing: float = 0.0  # share of the target spread over all classes
    class_weights: str = "none"  # none: the method balances the classes by itself
    attribute: str | None = None  # whose levels are the groups; null: the objective's primary, else the only one
    eta: float = 0.01  # step of the cells' weights
    adjustment: float = 0.0  # C of the generalization adjustment, C / sqrt(images of the cell)
    balanced: bool = True  # draw the cells alike


@dataclass
class JttMethod:
    """Draws the errors of a short training more often in a second one (Liu et al. 2021)."""

    name: str = "jtt"  # a name of names.METHODS
    label_smoothing: float = 0.0  # share of the target spread over all classes
    class_weights: str = "none"  # none, or balanced: weight 1 / frequency, mean 1
    identify_epochs: int = 2  # of the short training, out of trainer.max_epochs
    upweight: float = 50.0  # how often an error is drawn, the others once


@dataclass
class LffMethod:
    """Weighs images by how hard they are for a second, biased network (Nam et al. 2020)."""

    name: str = "lff"  # a name of names.METHODS
    label_smoothing: float = 0.0  # share of the target spread over all classes
    class_weights: str = "none"  # none, or balanced: weight 1 / frequency, mean 1
    q: float = 0.7  # of the biased network's generalized cross entropy
    decay: float = 0.7  # of each image's average losses


@dataclass
class FgCcdbMethod:
    """Draws the decisions of a biased network alike in every class (after Zhao and Zhang 2026)."""

    name: str = "fg_ccdb"  # a name of names.METHODS
    label_smoothing: float = 0.0  # share of the target spread over all classes
    class_weights: str = "none"  # none: the method balances the classes by itself
    bias_epochs: int = 2  # of the biased network, out of trainer.max_epochs
    select_epochs: int = 2  # of it again, on what it had right; 0 leaves this out
    q: float = 0.7  # of its generalized cross entropy


@dataclass
class LisaMethod:
    """Mixes images of one class or of one level (Yao et al. 2022)."""

    name: str = "lisa"  # a name of names.METHODS
    label_smoothing: float = 0.0  # share of the target spread over all classes
    class_weights: str = "none"  # none, or balanced: weight 1 / frequency, mean 1
    attribute: str | None = None  # whose levels are the groups; null: the objective's primary, else the only one
    select: float = 0.5  # chance of mixing within the class, across levels


@dataclass
class DfrMethod:
    """Fits the last layer anew on held-back images that are balanced over the cells (Kirichenko et al. 2023)."""

    name: str = "dfr"  # a name of names.METHODS
    label_smoothing: float = 0.0  # share of the target spread over all classes
    class_weights: str = "none"  # none, or balanced: weight 1 / frequency, mean 1
    held_back: float = 0.2  # share of the training images that only the last layer sees; 0: both see all
    attribute: str | None = None  # whose levels are the groups; null: the objective's primary, else the only one
    penalty: str = "l1"  # l1 or l2, on the weights of the last layer
    strength: float | None = None  # of the penalty, over the images; null: chosen on half of those held back
    num_subsets: int = 10  # balanced subsets, whose layers are averaged
    cell_images: int = 20  # a cell with fewer images is taken whole and weighs more


@dataclass
class AfrMethod:
    """Fits the last layer anew on held-back images that the network is not sure of (Qiu et al. 2023)."""

    name: str = "afr"  # a name of names.METHODS
    label_smoothing: float = 0.0  # share of the target spread over all classes
    class_weights: str = "none"  # none, or balanced: weight 1 / frequency, mean 1
    held_back: float = 0.2  # share of the training images that only the last layer sees; 0: both see all
    gamma: float = 4.0  # an image weighs exp(-gamma p), p what the network gives its class
    strength: float = 0.01  # of the penalty on the distance from the network's own last layer


METHOD_SCHEMAS: dict[str, type] = {
    "erm": ErmMethod,
    "resample": ResampleMethod,
    "logit_adjustment": LogitAdjustmentMethod,
    "group_dro": GroupDroMethod,
    "jtt": JttMethod,
    "lff": LffMethod,
    "fg_ccdb": FgCcdbMethod,
    "lisa": LisaMethod,
    "dfr": DfrMethod,
    "afr": AfrMethod,
}
