"""The tables of names, free of heavy imports, so that a misspelt name is answered at once.

A line is `name: "module:attribute"`; the module is imported when the name is used. Adding a cue, a method, a reader or
a metric is one new file and one line here.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from evensight.errors import unknown

READERS: dict[str, str] = {
    "folder": "evensight.data.readers.folder:FolderReader",
    "table": "evensight.data.readers.table:TableReader",
    "pattern": "evensight.data.readers.pattern:PatternReader",
    "arrays": "evensight.data.readers.arrays:ArraysReader",
    "imagefolder": "evensight.data.readers.imagefolder:ImageFolderReader",
    "voc": "evensight.data.readers.voc:VocReader",
    "cvat": "evensight.data.readers.cvat:CvatReader",
    "coco": "evensight.data.readers.coco:CocoReader",
    "label_studio": "evensight.data.readers.label_studio:LabelStudioReader",
    "merged": "evensight.data.readers.merged:MergedReader",
    "shapes": "evensight.data.datasets.shapes:ShapesReader",
    "coloured_mnist": "evensight.data.datasets.coloured_mnist:ColouredMnistReader",
    "irm_mnist": "evensight.data.datasets.irm_mnist:IrmMnistReader",
    "bar": "evensight.data.datasets.bar:BarReader",
    "composite": "evensight.data.datasets.composite:CompositeReader",
}

CUES: dict[str, str] = {
    "colour": "evensight.cues.colour:Colour",
    "brightness": "evensight.cues.brightness:Brightness",
    "texture": "evensight.cues.texture:Texture",
    "background": "evensight.cues.background:Background",
    "surround": "evensight.cues.surround:Surround",
    "border": "evensight.cues.border:Border",
    "frame_size": "evensight.cues.frame_size:FrameSize",
    "shape": "evensight.cues.shape:Shape",
}

# Cues that can be described and not transplanted: nothing measures reliance on them.
DESCRIBED_ONLY = ("frame_size", "shape")

# Which focus= turns a cue off.
FOCUS_OPTIONS: dict[str, str] = {
    "colour": "colour_off",
    "brightness": "brightness_off",
    "texture": "texture_off",
    "background": "background_off",
    "surround": "surround_off",
    "border": "border_off",
}

# How focus turns a model away from a cue, in the order in which the words are said.
FOCUS_BY = ("augment", "remove", "consistency", "groups", "head")
# In place of the name of a cue, or of an attribute: what the audit of this data found.
AUDITED = "audit"
# Cues with a `remove`: what `focus.by=[remove]` can turn off.
REMOVABLE = ("colour", "brightness", "border")
# Methods that `focus.by` puts in the place of empirical risk minimisation, by its word.
FOCUS_METHODS: dict[str, tuple[str, ...]] = {
    "groups": ("resample", "logit_adjustment", "group_dro", "jtt", "lff", "fg_ccdb", "lisa"),
    "head": ("dfr", "afr"),
}

METHODS: dict[str, str] = {
    "erm": "evensight.training.methods.erm:ERM",
    "resample": "evensight.training.methods.resample:Resample",
    "logit_adjustment": "evensight.training.methods.logit_adjustment:LogitAdjustment",
    "group_dro": "evensight.training.methods.group_dro:GroupDRO",
    "jtt": "evensight.training.methods.jtt:JTT",
    "lff": "evensight.training.methods.lff:LfF",
    "fg_ccdb": "evensight.training.methods.fg_ccdb:FGCCDB",
    "lisa": "evensight.training.methods.lisa:LISA",
    "dfr": "evensight.training.methods.dfr:DFR",
    "afr": "evensight.training.methods.afr:AFR",
}

METRICS: dict[str, str] = {
    "accuracy": "evensight.objective.metrics.rates:Accuracy",
    "recall": "evensight.objective.metrics.rates:Recall",
    "precision": "evensight.objective.metrics.rates:Precision",
    "advantage": "evensight.objective.metrics.advantage:Advantage",
    "reliance": "evensight.objective.metrics.reliance:Reliance",
    "artifact_size": "evensight.objective.metrics.environment:ArtifactSize",
    "unreadable": "evensight.objective.metrics.data:Unreadable",
    "leakage": "evensight.objective.metrics.data:Leakage",
    "agreement": "evensight.objective.metrics.data:Agreement",
    "evidence": "evensight.objective.metrics.data:ImagesInTest",
}

BACKBONES: dict[str, str] = {
    "small_cnn": "evensight.models.small:SmallCNN",
    "mlp": "evensight.models.small:MLP",
}


def focus_setting(cue: str) -> str:
    """Returns the setting that turns a cue off, such as ``focus=colour_off``; empty where there is none."""
    return f"focus={FOCUS_OPTIONS[cue]}" if cue in FOCUS_OPTIONS else ""


def resolve(table: Mapping[str, str], key: str, name: str) -> Any:
    """Imports and returns what `name` stands for in `table`.

    Args:
        table: One of the tables above.
        key: The configuration key that named it, for the sentence.
        name: The name to look up.

    Raises:
        UserError: If the table has no such name.
    """
    if name not in table:
        raise unknown(key, name, table)
    module, attribute = table[name].split(":")
    return getattr(importlib.import_module(module), attribute)
