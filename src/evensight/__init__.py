"""evensight: image recognition models that are right for every class and every group, and for the right reason.

What a script needs, in the order in which it does; each name is imported when it is first used, so that
`import evensight` costs nothing:

    config = evensight.configuration(["experiment=shapes"])
    stated = evensight.Objective.from_config(dataclasses.asdict(config.objective))
    manifest, objective = evensight.prepare(config.data, stated, Path(config.datasets_dir))
    run = evensight.Run.create(config)
    result = evensight.train(config, run, manifest, objective)
    artifact = evensight.export(run, result.network, result.spec, objective, manifest, result.bank, config)
    verdict = evensight.evaluate(artifact, manifest, "validation", run).verdict
    predictions = evensight.Predictor(artifact.folder, accept_failed=True).predict([Path("one.png")])

`evensight.main(["train", "experiment=shapes"])` does all of it but the last line.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evensight.cli import main
    from evensight.config import Config
    from evensight.data.manifest import Manifest
    from evensight.data.prepare import prepare
    from evensight.deploy.export import export
    from evensight.errors import RunError, UserError
    from evensight.objective.objective import Objective
    from evensight.records.artifact import Artifact
    from evensight.resuming import configuration
    from evensight.run import Run
    from evensight.runtime.predictor import Prediction, Predictor
    from evensight.testing.evaluate import Evaluation, evaluate
    from evensight.training.train import TrainResult, train

__version__ = "0.1.0"

__all__ = [
    "Artifact",
    "Config",
    "Evaluation",
    "Manifest",
    "Objective",
    "Prediction",
    "Predictor",
    "Run",
    "RunError",
    "TrainResult",
    "UserError",
    "__version__",
    "configuration",
    "evaluate",
    "export",
    "main",
    "prepare",
    "train",
]

_HOMES = {
    "main": "evensight.cli",
    "Config": "evensight.config",
    "Manifest": "evensight.data.manifest",
    "prepare": "evensight.data.prepare",
    "export": "evensight.deploy.export",
    "RunError": "evensight.errors",
    "UserError": "evensight.errors",
    "Objective": "evensight.objective.objective",
    "Artifact": "evensight.records.artifact",
    "configuration": "evensight.resuming",
    "Run": "evensight.run",
    "Prediction": "evensight.runtime.predictor",
    "Predictor": "evensight.runtime.predictor",
    "Evaluation": "evensight.testing.evaluate",
    "evaluate": "evensight.testing.evaluate",
    "TrainResult": "evensight.training.train",
    "train": "evensight.training.train",
}

if not TYPE_CHECKING:  # a type checker that saw these would take any name

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module 'evensight' has no attribute {name!r}", name=name)
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)

    def __dir__():
        return sorted({*globals(), *__all__})
