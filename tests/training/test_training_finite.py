"""What is not finite, found and undone by tensor operations alone; two ranks that decide alike; a scaler's business."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from evensight.training.finite import Activations, Delayed, KeptBuffers, all_finite, mark, tensors_in
from evensight.training.going_back import lowered
from evensight.training.optim import build_optimizer, clip_gradients

GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
DEVICES = ["cpu", pytest.param("cuda", marks=GPU)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_number_among_many_is_found_and_nothing_changes(device: str, dtype: torch.dtype, bad: float) -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(shape, generator=generator).to(device, dtype) for shape in [(3, 5), (7,), ()]]
    values.append(torch.full((4,), torch.finfo(torch.float16).max, device=device, dtype=dtype))
    before = [value.clone() for value in values]
    flag = torch.zeros((), device=device)
    mark(values, flag)
    assert (float(flag), all_finite(values)) == (0.0, True)
    for value, old in zip(values, before, strict=True):
        assert torch.equal(value, old)
    values[1][3] = bad
    mark(values, flag)
    assert (float(flag), all_finite(values)) == (1.0, False)


def test_channels_last_gradients_and_none_at_all() -> None:
    flag = torch.zeros(())
    value = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    mark([value], flag)
    mark([], flag)
    assert flag == 0
    value[1, 2, 3, 3] = math.nan
    mark([value], flag)
    assert flag == 1
    assert all_finite([torch.tensor(3)])  # integers are


class Counter(nn.Module):
    """Buffers of three types, one of which is replaced by a new tensor at each call."""

    mean: Tensor
    count: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer("mean", torch.zeros(2, 2))
        self.register_buffer("seen", torch.zeros(4, dtype=torch.bool))
        self.register_buffer("nothing", None)

    def forward(self, x: Tensor) -> Tensor:
        self.mean = self.mean + x.mean()
        self.seen[0] = True
        out: Tensor = self.norm(x)
        return out


@pytest.mark.parametrize("device", DEVICES)
def test_buffers_come_back_where_the_flag_says_so_and_only_there(device: str) -> None:
    module = Counter().to(device)
    kept = KeptBuffers(module)
    module(torch.ones(2, 3, 4, 4, device=device))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    kept.keep()
    module(torch.full((2, 3, 4, 4), math.nan, device=device))
    after = {name: value.clone() for name, value in module.state_dict().items()}
    kept.put_back(torch.zeros((), device=device))
    for name, value in module.state_dict().items():
        assert torch.equal(value.nan_to_num(-1), after[name].nan_to_num(-1)), name
    kept.put_back(torch.ones((), device=device))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert sorted(len(buffer) for buffer in kept.floating()) == [2, 3, 3]


@pytest.mark.parametrize("device", DEVICES)
def test_the_host_reads_each_value_a_fixed_number_of_steps_later(device: str) -> None:
    value = torch.zeros(2, device=device)
    delayed, read = Delayed(value, 3), []
    for step in range(8):
        value.add_(1)
        read.append(delayed.push(value, step))
    assert read[:3] == [None] * 3
    assert read[3:] == [([step + 1.0] * 2, step) for step in range(5)]
    assert list(delayed.rest()) == [([step + 1.0] * 2, step) for step in (5, 6, 7)]


class Explodes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 1e30 * 1e30


def test_the_layer_is_named_by_its_first_output_that_is_not_finite() -> None:
    x = torch.ones(2, 3)
    healthy = Activations(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    healthy.run(lambda: healthy.module(x * 1e6))
    assert healthy.finite
    assert "the largest is" in healthy.sentence()
    assert "0 (Linear)" in healthy.sentence()
    broken = Activations(nn.Sequential(nn.Linear(3, 3), nn.Sequential(Explodes(), nn.Tanh())))
    broken.run(lambda: broken.module(x))
    assert not broken.finite
    assert broken.sentence() == "the first layer whose output is not finite is 1.0 (Explodes)"
    fed = Activations(nn.Sequential(nn.Linear(3, 3)))
    fed.run(lambda: fed.module(x * math.nan))
    assert fed.sentence().endswith("0 (Linear), and what it was given is not finite already")


# ---------------------------------------------------------------------------------------------------------- optimizers


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "settings",
    [
        {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"name": "adamw", "lr": 0.1, "weight_decay": 0.01},
    ],
    ids=["sgd", "adamw"],
)
def test_a_skipped_first_step_of_a_fused_optimizer_is_none(device: str, settings: dict[str, object]) -> None:
    """torch's fused SGD takes uninitialised memory for its averages in its first step, and keeps it."""

    def after(skip_first: bool) -> tuple[list[Tensor], list[Tensor]]:
        torch.manual_seed(0)
        module = nn.Linear(64, 64).to(device)
        optimizer = build_optimizer(settings, module.named_parameters(), fused=True)
        for bad in (True, False, False) if skip_first else (False, False):
            for i, parameter in enumerate(module.parameters()):
                parameter.grad = torch.full_like(parameter, math.nan if bad else 0.5 + i)
            optimizer.found_inf = torch.tensor(float(bad), device=device)  # type: ignore[attr-defined]
            optimizer.step()
        return list(module.parameters()), list(tensors_in(optimizer.state_dict()["state"]))

    for found, expected in zip(after(True), after(False), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_first_step_of_sgd_is_the_one_of_torch() -> None:
    settings = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 5), nn.Linear(5, 5)
    theirs.load_state_dict(ours.state_dict())
    plain = torch.optim.SGD(
        [{"params": [theirs.weight], "weight_decay": 0.01}, {"params": [theirs.bias], "weight_decay": 0.0}],
        lr=0.1,
        momentum=0.9,
        nesterov=True,
        fused=True,
    )
    for module, optimizer in ((ours, build_optimizer(settings, ours.named_parameters(), True)), (theirs, plain)):
        for step in range(3):
            for parameter in module.parameters():
                parameter.grad = torch.linspace(-1, 1 + step, parameter.numel()).view_as(parameter)
            optimizer.step()
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


@pytest.mark.parametrize(("algorithm", "expected"), [("norm", [0.6, 0.8]), ("value", [1.0, 1.0])])
def test_gradients_are_clipped_by_norm_or_value(algorithm: str, expected: list[float]) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    clip_gradients(torch.optim.SGD([parameter], lr=1.0), 1.0, algorithm)
    assert parameter.grad.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_norm_that_overflows_leaves_no_nan() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3e30, 4e30])
    clip_gradients(torch.optim.SGD([parameter], lr=1.0), 1.0, "norm")
    assert parameter.grad.isfinite().all()


def test_a_lowered_checkpoint_keeps_the_place_in_its_schedule() -> None:
    """Against torch's own arithmetic: from here on every learning rate is half of what it would have been."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.8)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    for _ in range(3):
        optimizer.step()
        schedule.step()
    state = {"in_a_row": 5, "skipped": 7, "epoch": 1, "went_back": False, "lr_scale": 1.0}
    checkpoint = {
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [schedule.state_dict()],
        "callbacks": {"Guard": state},
    }
    low = lowered(checkpoint, "Guard", 0.5)
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 0.8 / 4
    assert low["callbacks"]["Guard"] == {**state, "in_a_row": 0, "went_back": True, "lr_scale": 0.5}
    optimizer.load_state_dict(low["optimizer_states"][0])
    schedule.load_state_dict(low["lr_schedulers"][0])
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(2):
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.4 / 4, 0.4 / 5, 0.4 / 6])


# --------------------------------------------------------------------------------------------------------------- ranks

RANK = """
import torch, lightning, warnings
from torch import nn
warnings.simplefilter("ignore")
from evensight.training.callbacks.finite_guard import FiniteGuard

class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))

    def training_step(self, batch, batch_idx):
        loss = self.layers(batch[0]).square().mean()
        # On one rank alone, and not in the gradients that all ranks share.
        return loss + float("inf") if (self.global_rank, batch_idx) == (1, 2) and steps == 3 else loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.1, fused=fused)

found = []
for fused, steps in ((True, 3), (True, 2), (False, 3), (False, 2)):
    net, guard = Net(), FiniteGuard()
    data = torch.utils.data.TensorDataset(torch.randn(16, 4, generator=torch.Generator().manual_seed(1)))
    trainer = lightning.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, limit_train_batches=steps, callbacks=[guard],
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )
    trainer.fit(net, torch.utils.data.DataLoader(data, batch_size=2))
    found.append((net.state_dict(), guard.record.metrics))
for (skipped, record), (without, _) in (found[:2], found[2:]):
    assert record == {"train/skipped_steps": 1.0}, record
    for name, value in skipped.items():
        assert torch.equal(value, without[name]), name
torch.distributed.barrier()
print("same")
"""


def test_ranks_decide_alike_about_a_loss_on_one_of_them(tmp_path: Path) -> None:
    """Weights, moments and each rank's own statistics are those of a fit without the step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path / "rank.py"
    script.write_text(RANK, encoding="utf-8")
    ranks = []
    for rank in range(2):
        where = {"LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, **{name: str(value) for name, value in where.items()}}
        command = [sys.executable, str(script)]
        ranks.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    said = [process.communicate(timeout=300)[0] for process in ranks]
    for process, text in zip(ranks, said, strict=True):
        assert process.returncode == 0, text
        assert text.rstrip().endswith("same")
