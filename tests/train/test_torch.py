"""Training with PyTorch, on CPUs over gloo."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import pytest

from narke import train

torch = pytest.importorskip("torch", reason="PyTorch is not installed (it is big): pip install torch")

from narke.train import RunConfig, ScalingConfig  # noqa: E402
from narke.train.torch import TorchCheckpoint, TorchConfig, TorchPredictor, TorchTrainer  # noqa: E402

pytestmark = pytest.mark.usefixtures("cluster")


def run(loop, storage: Path, workers: int = 2, **more):
    config = RunConfig(name="run", storage_path=str(storage), **more.pop("run", {}))
    return TorchTrainer(
        loop, scaling_config=ScalingConfig(num_workers=workers), run_config=config, **more
    ).fit()


def curve(loop_context) -> list[float]:
    """Losses of a small model over the same data; with more ranks each takes a part of every batch."""
    from narke.train.torch import prepare_data_loader, prepare_model

    torch.manual_seed(0)
    x = torch.randn(64, 4)
    data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
    size = loop_context.get_world_size()
    loader = prepare_data_loader(torch.utils.data.DataLoader(data, batch_size=16 // size))
    model = prepare_model(torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        for features, target in loader:
            loss = torch.nn.functional.mse_loss(model(features), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            losses.append(torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True)).item())
    return losses


def test_ddp_trains_like_one_process(tmp_path: Path) -> None:
    def loop():
        return curve(train.get_context())

    together = run(loop, tmp_path).return_value
    alone = curve(train.get_context())
    assert together[-1] < together[0] / 3
    assert together == pytest.approx(alone, rel=1e-3)


def test_fsdp_steps(tmp_path: Path) -> None:
    def loop():
        from narke.train.torch import prepare_model

        torch.manual_seed(0)
        model = prepare_model(torch.nn.Linear(8, 8), parallel_strategy="fsdp")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            loss = model(torch.ones(2, 8)).pow(2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            train.report({"loss": loss.item()})

    result = run(loop, tmp_path)
    losses = list(result.metrics_dataframe["loss"])
    assert losses[2] < losses[0]


def test_the_loader_is_split_and_shuffled_anew(tmp_path: Path) -> None:
    def loop():
        from narke.train.torch import prepare_data_loader

        data = torch.utils.data.TensorDataset(torch.arange(12))
        loader = prepare_data_loader(torch.utils.data.DataLoader(data, batch_size=3, shuffle=True))
        epochs = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            epochs.append([value for (batch,) in loader for value in batch.tolist()])
        mine = train.collective.broadcast_from_rank_zero(epochs)
        assert train.get_context().get_world_rank() == 0 or not set(mine[0]) & set(epochs[0])
        return epochs

    first, second = run(loop, tmp_path).return_value
    assert len(first) == len(set(first)) == 6
    assert first != second


def test_mixed_precision(tmp_path: Path) -> None:
    def loop():
        from narke.train.torch import (
            accelerate,
            backward,
            enable_reproducibility,
            prepare_model,
            prepare_optimizer,
        )

        enable_reproducibility(3)
        accelerate(amp=True)
        model = prepare_model(torch.nn.Linear(4, 4))
        optimizer = prepare_optimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        out = model(torch.ones(2, 4))
        backward(out.pow(2).mean())
        optimizer.step()
        with pytest.raises(RuntimeError, match="once"):
            accelerate()
        return str(out.dtype)

    assert run(loop, tmp_path).return_value == "torch.float32"


def test_a_dead_rank_ends_a_collective_call(tmp_path: Path) -> None:
    def loop(config):
        import torch.distributed as dist

        dist.barrier()
        if train.get_context().get_world_rank() == 1:
            Path(config["dead"]).write_text(str(time.time()))
            os._exit(1)
        dist.all_reduce(torch.ones(3))  # the other rank never comes

    with pytest.raises(train.WorkerGroupError, match="rank 1"):
        run(loop, tmp_path, train_loop_config={"dead": str(tmp_path / "dead")})
    # It takes two seconds when nothing else runs; the call's own limit is half an hour.
    assert time.time() - float((tmp_path / "dead").read_text()) < 60


def test_checkpoints_and_predictors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    checkpoint = TorchCheckpoint.from_state_dict({f"module.{k}": v for k, v in model.state_dict().items()})
    again = checkpoint.get_model(torch.nn.Linear(3, 2))
    batch = {"x": torch.ones(4, 3).numpy()}
    got = TorchPredictor.from_checkpoint(checkpoint, model=again).predict(batch)
    assert got["predictions"] == pytest.approx(model(torch.ones(4, 3)).detach().numpy())
    with pytest.raises(ValueError, match="state_dict"):
        checkpoint.get_model()
    whole = TorchCheckpoint.from_model(model, preprocessor="p")
    assert whole.get_preprocessor() == "p"
    assert math.isclose(whole.get_model().weight.sum().item(), model.weight.sum().item())


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match="init_method"):
        TorchConfig(init_method="file")
