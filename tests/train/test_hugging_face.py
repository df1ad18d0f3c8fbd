"""Training with Transformers, Accelerate and Lightning."""

from __future__ import annotations

from pathlib import Path

import pytest

import narke
from narke import train
from narke.train import RunConfig, ScalingConfig

torch = pytest.importorskip("torch", reason="PyTorch is not installed (it is big): pip install torch")

pytestmark = pytest.mark.usefixtures("cluster")


def settings(storage: Path) -> dict:
    return {
        "scaling_config": ScalingConfig(num_workers=2),
        "run_config": RunConfig(name="run", storage_path=str(storage)),
    }


@pytest.fixture
def transformers():
    pytest.importorskip("accelerate", reason="Accelerate is not installed: pip install accelerate")
    return pytest.importorskip(
        "transformers", reason="Transformers is not installed: pip install transformers"
    )


def small_model(transformers):
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=20,
        num_labels=2,
    )
    return transformers.RobertaForSequenceClassification(config)


class Words(torch.utils.data.Dataset):
    """Rows of words; the label tells whether word 7 is among them."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, at: int) -> dict:
        words = [7 if at % 2 else 8, *((at * step) % 20 + 10 for step in range(1, 6))]
        return {"input_ids": words, "attention_mask": [1] * 6, "labels": at % 2}


def arguments(storage: Path, **more) -> dict:
    return {
        "output_dir": str(storage / "out"),
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-2,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "epoch",
        "logging_strategy": "epoch",
        **more,
    }


def test_the_parts_of_a_trainer(transformers, tmp_path: Path) -> None:
    from narke.train.huggingface import TransformersTrainer

    result = TransformersTrainer(
        model=small_model(transformers),
        args=transformers.TrainingArguments(**arguments(tmp_path)),
        train_dataset=Words(),
        **settings(tmp_path),
    ).fit()
    assert result.metrics["step"] == 2 * 64 // 16
    assert result.metrics["epoch"] == 2
    checkpoint = train.huggingface.TransformersCheckpoint.from_checkpoint(result.checkpoint)
    model = checkpoint.get_model(transformers.RobertaForSequenceClassification)
    assert model.num_labels == 2


def test_a_function_that_makes_the_trainer_over_datasets(transformers, tmp_path: Path) -> None:
    from narke.train.huggingface import HuggingFaceTrainer

    def make(train_dataset, eval_dataset, steps):
        args = transformers.TrainingArguments(**arguments(tmp_path, max_steps=steps, save_strategy="no"))
        return transformers.Trainer(model=small_model(transformers), args=args, train_dataset=train_dataset)

    words = Words()
    data = narke.data.from_items([words[at] for at in range(64)])
    trainer = HuggingFaceTrainer(
        make, trainer_init_config={"steps": 3}, datasets={"train": data}, **settings(tmp_path)
    )
    result = trainer.fit()
    assert result.metrics["step"] == 3
    assert result.checkpoint is not None


def test_either_parts_or_a_function() -> None:
    from narke.train.huggingface import TransformersTrainer

    with pytest.raises(ValueError, match="trainer_init_per_worker"):
        TransformersTrainer()


def test_accelerate(transformers, tmp_path: Path) -> None:
    from narke.train.huggingface.accelerate import AccelerateTrainer

    def loop():
        import os

        from accelerate import Accelerator

        accelerator = Accelerator(cpu=True)
        model, optimizer = torch.nn.Linear(2, 1), None
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        data = torch.utils.data.TensorDataset(torch.ones(8, 2))
        model, optimizer, loader = accelerator.prepare(model, optimizer, torch.utils.data.DataLoader(data))
        for (batch,) in loader:
            accelerator.backward(model(batch).sum())
            optimizer.step()
        steps = os.environ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"]
        return accelerator.num_processes, len(loader), steps

    trainer = AccelerateTrainer(
        loop, accelerate_config={"gradient_accumulation_steps": 3}, **settings(tmp_path)
    )
    assert trainer.fit().return_value == (2, 4, "3")


def test_lightning(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="Lightning is not installed: pip install lightning")
    from narke.train.torch import TorchTrainer

    def loop():
        import lightning.pytorch as pl

        from narke.train.lightning import (
            RayDDPStrategy,
            RayLightningEnvironment,
            RayTrainReportCallback,
            prepare_trainer,
        )

        class Module(pl.LightningModule):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(2, 1)

            def training_step(self, batch, index):
                loss = (self.layer(batch[0]) - 1).pow(2).mean()
                self.log("loss", loss)
                return loss

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.1)

        trainer = pl.Trainer(
            max_epochs=3,
            accelerator="cpu",
            devices="auto",
            strategy=RayDDPStrategy(),
            plugins=[RayLightningEnvironment()],
            callbacks=[RayTrainReportCallback()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            logger=False,
        )
        data = torch.utils.data.TensorDataset(torch.ones(16, 2))
        prepare_trainer(trainer).fit(Module(), torch.utils.data.DataLoader(data, batch_size=2))
        return trainer.world_size, trainer.global_step

    result = TorchTrainer(loop, **settings(tmp_path)).fit()
    assert result.return_value == (2, 12)
    assert (result.metrics["epoch"], result.metrics["step"]) == (2, 12)
    with result.checkpoint.as_directory() as folder:
        state = torch.load(Path(folder, "checkpoint.ckpt"), weights_only=False)
    assert state["global_step"] == 12
