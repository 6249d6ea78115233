"""A configuration is composed, typed and checked; every mistake is one sentence with the key and the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from evensight.compose import compose, config_folder, groups, to_yaml, typed
from evensight.config import Config
from evensight.errors import UserError

EXPERIMENTS = sorted(path.stem for path in (config_folder() / "experiment").glob("*.yaml"))
NEEDS = {"folder": ["data.root=photos"], "table": ["data.table=photos.csv"]}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("debug", [[], ["debug=fast"], ["debug=overfit"]])
def test_every_experiment_composes(experiment: str, debug: list[str]) -> None:
    config = compose([f"experiment={experiment}", *NEEDS.get(experiment, []), *debug])
    assert isinstance(config, Config)
    assert config.experiment_name == experiment


def test_every_group_option_composes() -> None:
    for group, options in groups().items():
        if group in ("experiment", "debug", "data"):
            continue
        for option in options:
            compose(["experiment=shapes", f"{group}={option}"])


def test_recorded_configuration_reads_back_equal() -> None:
    from omegaconf import OmegaConf

    config = compose(["experiment=shapes", "seed=3", "trainer.gradient_clip_val=1.0"])
    loaded = OmegaConf.to_container(OmegaConf.create(to_yaml(config)))
    assert isinstance(loaded, dict)
    assert typed({str(key): value for key, value in loaded.items()}) == config


def test_values_reach_their_keys() -> None:
    config = compose(["experiment=shapes", "optimizer.lr=0.5", "data.correlation=0.0", "trainer.max_epochs=7"])
    assert (config.optimizer.lr, config.data.correlation, config.trainer.max_epochs) == (0.5, 0.0, 7)


def test_another_reader_another_schema() -> None:
    with pytest.raises(UserError, match=r"data\.correlation"):
        compose(["experiment=folder", "data.root=photos", "data.correlation=0.5"])


# What was typed -> what the sentence must hold: the key, what was found, what is allowed or nearest.
WRONG = {
    "sed=3": ["sed", "seed"],
    "+sed=3": ["sed", "seed"],
    "experiment=shape": ["experiment", "shape", "shapes"],
    "optimizer=adam": ["optimizer", "adam", "adamw"],
    "model=small_cn": ["model", "small_cn", "small_cnn"],
    "optimizer.learning_rate=1": ["optimizer.learning_rate", "optimizer.lr"],
    "optimizer.lr=fast": ["optimizer.lr", "fast"],
    "optimizer.lr=-1": ["optimizer.lr", "-1", "at least 0"],
    "optimizer.lr=nan": ["optimizer.lr", "nan"],
    "optimizer.name=adamx": ["optimizer.name", "adamx", "adamw"],
    "data.reader=shaps": ["data.reader", "shaps", "shapes"],
    "data.correlation=1.5": ["data.correlation", "1.5", "from 0 to 1"],
    "data.batch_size=0": ["data.batch_size", "0", "at least 1"],
    "data.batch_size=many": ["data.batch_size", "many"],
    "data.batchsize=3": ["data.batchsize", "data.batch_size"],
    "trainer.max_epoch=3": ["trainer.max_epoch", "trainer.max_epochs"],
    "seed=-1": ["seed", "-1"],
    "seed=x": ["seed", "x"],
    "gate=hard": ["gate", "hard", "strict"],
    "schedule.name=cosin": ["schedule.name", "cosin", "cosine"],
    "schedule.warmup_fraction=2": ["schedule.warmup_fraction", "2", "from 0 to 1"],
    "method.name=er": ["method.name", "er", "erm"],
    "method.label_smoothing=1": ["method.label_smoothing", "1"],
    "method.class_weights=balance": ["method.class_weights", "balance", "balanced"],
    "logger.name=wand": ["logger.name", "wand", "wandb"],
    "model.drop_rate=1": ["model.drop_rate", "1"],
    "model.size=0": ["model.size", "0"],
    "objective.class=[a]": ["objective.class", "objective.classes"],
    "reliance.every_n_epochs=0": ["reliance.every_n_epochs", "0"],
    "shapes": ["shapes", "key=value"],
    "trainer=[": ["trainer=[", "key=value"],
    "logger=wanb": ["logger", "wanb", "wandb"],
    "model.backbone=[1,2]": ["model.backbone"],
    "data.sealed=perhaps": ["data.sealed", "perhaps"],
}


@pytest.mark.parametrize("typed_in", WRONG)
def test_one_sentence_for_a_mistake(typed_in: str) -> None:
    with pytest.raises(UserError) as caught:
        compose(["experiment=shapes", typed_in])
    text = str(caught.value)
    assert "\n" not in text
    for part in WRONG[typed_in]:
        assert part in text, text


def test_missing_value_is_named() -> None:
    with pytest.raises(UserError, match=r"^data\.name: "):
        compose(["experiment=folder", "data.root=photos", "data.name=null"])
    with pytest.raises(UserError, match=r"^data\.reader: nothing given"):
        compose(["experiment=folder", "data.root=photos", "data.reader=null"])


def test_users_own_configs_add_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "configs" / "experiment"
    folder.mkdir(parents=True)
    text = "# @package _global_\ndefaults:\n  - shapes\nexperiment_name: mine\nseed: 9\n"
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    config = compose(["experiment=mine"])
    assert (config.experiment_name, config.seed, config.data.reader) == ("mine", 9, "shapes")
