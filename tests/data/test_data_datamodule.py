"""If these fail, Lightning trains or validates on other images than the data module promises."""

import lightning as L
import numpy as np
import pytest
import torch

from evensight.config import AugmentConfig, DataConfig
from evensight.data.datamodule import ImageDataModule
from evensight.errors import UserError
from evensight.runtime.preprocess import PreprocessSpec

FLIP = AugmentConfig(transforms={"h": {"_target_": "albumentations.HorizontalFlip", "p": 0.5}})


class _Record(L.LightningModule):
    """Keeps the indices of what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)
        self.seen: list[list[int]] = []
        self.validated: list[int] = []

    def training_step(self, batch, _):
        self.seen.append(batch["index"].tolist())
        return self.layer(batch["image"].float().mean(dim=(2, 3))).mean()

    def validation_step(self, batch, _) -> None:
        self.validated += batch["index"].tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def _module(manifest, **keys) -> ImageDataModule:
    data = DataConfig(name="d", reader="table", batch_size=8, eval_batch_size=16, **keys)
    return ImageDataModule(manifest, data, FLIP, PreprocessSpec(16), 1)


def _trainer(tmp_path, **keys) -> L.Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return L.Trainer(
        accelerator="cpu", devices=1, default_root_dir=tmp_path, enable_model_summary=False, **{**quiet, **keys}
    )


def test_only_training_is_shuffled_and_augmented(prepared) -> None:
    module = _module(prepared(num=44))
    train, validation, test = module.train_dataloader(), module.val_dataloader(), module.test_dataloader()
    assert train.shuffle and train.drop_last and train.dataset.augment is not None
    for loader in (validation, test):
        assert not loader.shuffle and not loader.drop_last and loader.dataset.augment is None
    assert [len(loader.dataset) for loader in (train, validation, test)] == [40, 2, 2]
    assert module.dataset("train") is train.dataset


# Lightning's own, with torch 2.15: nothing of ours.
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_lightning_gives_each_epoch_its_own_order(prepared, tmp_path) -> None:
    module, record = _module(prepared(num=44)), _Record()
    trainer = _trainer(tmp_path, max_epochs=2, num_sanity_val_steps=0)
    trainer.fit(record, datamodule=module)
    loader = module.train_dataloader()
    expected = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        expected += [batch["index"].tolist() for batch in loader]
    assert record.seen == expected and expected[:5] != expected[5:]
    assert record.validated == module.dataset("validation").indices.tolist() * 2


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_overfitting_sees_one_batch_again_and_again(prepared, tmp_path) -> None:
    module, record = _module(prepared(num=44)), _Record()
    _trainer(tmp_path, max_epochs=3, overfit_batches=1).fit(record, datamodule=module)
    assert len(record.seen) == 3 and record.seen[0] == record.seen[1] == record.seen[2]


def test_sample_weights_reach_the_loader(prepared) -> None:
    module = _module(prepared(num=44))
    weights = np.zeros(40)
    weights[7] = 1.0
    module.sample_weights = weights
    indices = {index for batch in module.train_dataloader() for index in batch["index"].tolist()}
    assert indices == {int(module.dataset("train").indices[7])}


def test_failures_of_all_splits_are_named(prepared) -> None:
    manifest = prepared(num=44)
    module = _module(manifest)
    for split in ("train", "validation"):
        (manifest.root / manifest.split(split)["path"][0]).unlink()
        list(module.train_dataloader() if split == "train" else module.val_dataloader())
    assert set(module.failures()) == {manifest.split(split)["path"][0] for split in ("train", "validation")}


def test_a_split_without_images_is_refused(prepared) -> None:
    module = _module(prepared(broken=(22, 23)))
    with pytest.raises(UserError, match="test split"):
        module.test_dataloader()


def test_a_batch_that_devices_cannot_share_is_refused(prepared, tmp_path) -> None:
    module = _module(prepared())
    module.trainer = _trainer(tmp_path, strategy="ddp")
    module.trainer.strategy.parallel_devices = [torch.device("cpu")] * 3
    with pytest.raises(UserError, match=r"data\.batch_size"):
        module.train_dataloader()
