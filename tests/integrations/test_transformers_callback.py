"""The callback in real trainings by transformers' Trainer."""

import logging

import pytest
import torch
from tasks import Model, data
from torch import nn
from torch.utils.data import Dataset

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from perdure.errors import ArgumentError, ArgumentTypeError  # noqa: E402
from perdure.integrations.transformers import MemoryCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")


class Rows(Dataset):
    def __init__(self, **columns):
        self.columns = columns

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i):
        return {name: values[i] for name, values in self.columns.items()}


class Task(nn.Module):
    """Loss for the trainer; the network inside is what is measured."""

    def __init__(self):
        super().__init__()
        self.net = Model()

    def forward(self, x, labels=None):
        y = self.net(x)
        return y if labels is None else {"loss": (y - labels).square().mean(), "logits": y}


class Log(transformers.TrainerCallback):
    """What a logger is given."""

    def __init__(self):
        self.seen = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.seen.append((state.global_step, dict(logs)))


def trainer_for(tmp_path, model, rows, callbacks, steps=12, **options):
    args = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=steps, per_device_train_batch_size=8, logging_steps=4, save_strategy="no", report_to=[], use_cpu=True, seed=0,
        disable_tqdm=True, learning_rate=0.01, **options,
    )  # fmt: skip
    trainer = transformers.Trainer(model=model, args=args, train_dataset=rows, callbacks=callbacks)
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def make(cls=Task, *args):
    torch.manual_seed(0)
    return cls(*args)


def sequences():
    x, y = data()
    return Rows(x=x, labels=y)


def test_values_go_to_the_loggers_and_the_loss_still_does(tmp_path):
    log = Log()
    trainer = trainer_for(tmp_path, make(), sequences(), [log])
    MemoryCallback(every_n_steps=2, horizon=8, probes=8, module="net", budget=None).attach(trainer)
    trainer.train()
    found = [(step, logs) for step, logs in log.seen if "perdure/half_life" in logs]
    assert [step for step, _ in found] == [2, 4, 6, 8, 10, 12]
    assert all(logs["perdure/stability_radius"] > 0 for _, logs in found)
    assert [step for step, logs in log.seen if "loss" in logs] == [4, 8, 12]
    assert sum("perdure/half_life" in row for row in trainer.state.log_history) == 6


def test_without_a_trainer_values_join_its_own_logs(tmp_path):
    log = Log()
    trainer = trainer_for(
        tmp_path, make(), sequences(), [MemoryCallback(every_n_steps=3, horizon=8, probes=8, module="net", budget=None), log]
    )
    trainer.train()
    assert [row["step"] for row in trainer.state.log_history if "perdure/half_life" in row and "loss" not in row] == [3, 6, 9, 12]
    assert [step for step, logs in log.seen if "perdure/half_life" in logs and "loss" in logs] == [4, 8, 12]


def test_the_training_is_the_same_bit_for_bit(tmp_path):
    plain, watched = make(), make()
    trainer_for(tmp_path / "a", plain, sequences(), []).train()
    trainer = trainer_for(tmp_path / "b", watched, sequences(), [])
    callback = MemoryCallback(every_n_steps=3, horizon=8, probes=8, module="net", budget=None).attach(trainer)
    trainer.train()
    assert callback.monitor.spent > 0
    assert not callback.monitor.broken
    assert all(torch.equal(v, watched.state_dict()[k]) for k, v in plain.state_dict().items())


def test_a_language_model_is_measured_by_its_embeddings(tmp_path):
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=20, n_positions=16, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    model = transformers.GPT2LMHeadModel(config)
    tokens = torch.randint(0, 20, (32, 12), generator=torch.Generator().manual_seed(0))
    trainer = trainer_for(tmp_path, model, Rows(input_ids=tokens, labels=tokens), [], steps=4)
    callback = MemoryCallback(every_n_steps=2, horizon=64, probe="impulse", probes=8, budget=None).attach(trainer)
    trainer.train()
    assert not callback.monitor.broken
    found = [row for row in trainer.state.log_history if "perdure/half_life" in row]
    assert [row["step"] for row in found] == [2, 4]
    assert all(0 <= row["perdure/half_life"] <= 15 for row in found)  # no longer than n_positions
    assert "perdure/stability_radius" not in found[0]


def test_an_encoder_that_sees_both_ways_is_left_out_with_one_warning(tmp_path, caplog):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, max_position_embeddings=16
    )
    tokens = torch.randint(0, 20, (32, 12), generator=torch.Generator().manual_seed(0))
    trainer = trainer_for(tmp_path, transformers.BertForMaskedLM(config), Rows(input_ids=tokens, labels=tokens), [], steps=4)
    MemoryCallback(every_n_steps=1, horizon=8, probes=8, budget=None).attach(trainer)
    with caplog.at_level(logging.WARNING, "perdure.integrations"):
        trainer.train()
    assert trainer.state.global_step == 4
    (record,) = [r for r in caplog.records if r.name == "perdure.integrations"]
    assert "causal" in record.getMessage()
    assert not any("perdure/half_life" in row for row in trainer.state.log_history)


def test_the_budget_holds_in_a_real_training(tmp_path):
    trainer = trainer_for(tmp_path, make(), sequences(), [], steps=20)
    callback = MemoryCallback(every_n_steps=1, horizon=16, probes=8, module="net", budget=0.02).attach(trainer)
    trainer.train()
    monitor = callback.monitor
    assert monitor.put_off > 0
    assert monitor.spent <= 0.02 * (monitor.clock() - monitor.began) + max(monitor.cost.values(), default=0.0)


def test_a_wrong_name_is_refused_before_the_first_step(tmp_path):
    trainer = trainer_for(tmp_path, make(), sequences(), [])
    MemoryCallback(module="encoder").attach(trainer)
    with pytest.raises(ArgumentError, match=r"'net\.encoder'"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_attaching_twice_is_once_and_to_something_else_is_refused(tmp_path):
    trainer = trainer_for(tmp_path, make(), sequences(), [])
    callback = MemoryCallback()
    callback.attach(trainer).attach(trainer)
    assert trainer.callback_handler.callbacks.count(callback) == 1
    with pytest.raises(ArgumentTypeError, match=r"to be a transformers.Trainer, but got Task"):
        callback.attach(make())
    with pytest.raises(ArgumentError, match="every_n_steps"):
        MemoryCallback(every_n_steps=0)
