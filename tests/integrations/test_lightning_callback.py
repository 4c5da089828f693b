"""The callback in real trainings by Lightning."""

import csv
import logging
import warnings

import pytest
import torch
from tasks import Model, data
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

lightning = pytest.importorskip("lightning.pytorch")
from lightning.pytorch.loggers import CSVLogger  # noqa: E402

from perdure.errors import ArgumentError  # noqa: E402
from perdure.integrations.lightning import MemoryCallback  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*GPU available but not used:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*treespec.*:FutureWarning"),
]


class Task(lightning.LightningModule):
    def __init__(self, broken=False):
        super().__init__()
        self.net, self.broken = Model(), broken
        self.input_size = 1

    def forward(self, x):
        if self.broken:
            raise RuntimeError("not this way")
        return self.net(x)

    def training_step(self, batch, index):
        x, y = batch
        loss = (self.net(x) - y).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


def train(tmp_path, callbacks, *, logger=True, task=None, epochs=2):
    lightning.seed_everything(0, verbose=False)
    task = task or Task()
    with warnings.catch_warnings():
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", devices=1, callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
            logger=CSVLogger(tmp_path, name="run") if logger else False, default_root_dir=tmp_path, log_every_n_steps=4,
        )  # fmt: skip
        x, y = data()
        trainer.fit(task, DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True))
    return trainer, task


def rows(tmp_path):
    (path,) = tmp_path.rglob("metrics.csv")
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_values_are_logged_every_n_steps(tmp_path):
    callback = MemoryCallback(every_n_steps=3, horizon=8, probes=8, module="net", budget=None)
    trainer, _ = train(tmp_path, [callback])
    found = [row for row in rows(tmp_path) if row.get("perdure/half_life")]
    assert [int(row["step"]) for row in found] == [3, 6, 9, 12, 15]
    assert all(float(row["perdure/stability_radius"]) > 0 for row in found)
    assert all(0 <= float(row["perdure/half_life"]) <= float(row["perdure/horizon_0.01"]) <= 7 for row in found)
    assert float(trainer.callback_metrics["perdure/half_life"]) == pytest.approx(float(found[-1]["perdure/half_life"]))


def test_values_are_logged_every_n_epochs(tmp_path):
    train(tmp_path, [MemoryCallback(every_n_steps=None, every_n_epochs=2, horizon=8, probes=8, module="net", budget=None)], epochs=4)
    assert [int(row["step"]) for row in rows(tmp_path) if row.get("perdure/half_life")] == [16, 32]


def test_the_training_is_the_same_bit_for_bit(tmp_path):
    _, plain = train(tmp_path / "a", [])
    callback = MemoryCallback(every_n_steps=2, horizon=8, probes=8, budget=None)
    trainer, watched = train(tmp_path / "b", [callback])
    assert callback.monitor.spent > 0
    assert "perdure/half_life" in trainer.callback_metrics
    assert all(torch.equal(v, watched.state_dict()[k]) for k, v in plain.state_dict().items())


def test_a_forward_that_raises_does_not_end_the_training(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "perdure.integrations"):
        trainer, _ = train(tmp_path, [MemoryCallback(every_n_steps=1, horizon=8, probes=8, budget=None)], task=Task(broken=True))
    assert trainer.global_step == 16
    assert [r.getMessage() for r in caplog.records if r.name == "perdure.integrations"] == [
        "memory is not logged, because measuring it failed: RuntimeError: not this way"
    ]
    assert "perdure/stability_radius" in trainer.callback_metrics


def test_without_a_logger_values_reach_the_callback_metrics(tmp_path):
    trainer, _ = train(tmp_path, [MemoryCallback(every_n_steps=4, horizon=8, probes=8, budget=None)], logger=False)
    assert "perdure/horizon_0.01" in trainer.callback_metrics
    assert not list(tmp_path.rglob("metrics.csv"))


def test_the_budget_holds_in_a_real_training(tmp_path):
    callback = MemoryCallback(every_n_steps=1, horizon=16, probes=8, budget=0.02)
    train(tmp_path, [callback], epochs=3)
    assert callback.monitor.put_off > 0
    assert callback.monitor.spent <= 0.02 * (callback.monitor.clock() - callback.monitor.began) + max(
        callback.monitor.cost.values(), default=0.0
    )


def test_a_wrong_name_is_refused_before_the_first_step(tmp_path):
    task = Task()
    before = {k: v.clone() for k, v in task.state_dict().items()}
    with pytest.raises(ArgumentError, match=r"'net\.encoder'"):
        train(tmp_path, [MemoryCallback(module="encoder")], task=task)
    assert all(torch.equal(v, task.state_dict()[k]) for k, v in before.items())


@pytest.mark.parametrize("options", [{"every_n_steps": 0}, {"every_n_steps": None}, {"every_n_epochs": 0}, {"budget": 2.0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ArgumentError):
        MemoryCallback(**options)


def test_the_module_names_itself():
    assert isinstance(Task().net.encoder, nn.GRU)
