"""Next week's CO2 at Mauna Loa by four recurrent layers: torch's RNN and LSTM, and what takes their place in one line each.

Run `python examples/drop_in.py` (half a minute on one core) or `python examples/drop_in.py --quick`. It trains each model on the weeks before 1990,
and prints its error on the weeks after, the time of an epoch, and how far back the trained model looks. Another `--seed` moves the errors by
0.01 to 0.04 ppm: the table is no contest.
"""

from __future__ import annotations

import argparse
import time

import torch

import perdure
from perdure.experiments import co2
from perdure.nn import init

LAYERS = {  # the second line takes the place of the first, the fourth that of the third: nothing else here knows which layer it trains
    "torch.nn.RNN": lambda size: torch.nn.RNN(1, size, batch_first=True),
    "perdure.nn.ContinuousRNN": lambda size: perdure.nn.ContinuousRNN(1, size, batch_first=True, structure="dissipative"),
    "torch.nn.LSTM": lambda size: torch.nn.LSTM(1, size, batch_first=True),
    "perdure.nn.DiagonalSSM": lambda size: perdure.nn.DiagonalSSM(1, size, batch_first=True),
}
WINDOW, WARM = 208, 52  # weeks of a training window, and those at its start that do not count: the state is not warm yet


class Model(torch.nn.Module):
    """A layer and a linear readout, (B, T, 1) -> (B, T, 1)."""

    def __init__(self, layer, size):
        super().__init__()
        self.layer = layer(size)
        self.readout = torch.nn.Linear(size, 1)

    def forward(self, x):
        """Predictions for every step."""
        return self.readout(self.layer(x)[0])


def train(layer, x, y, epochs, seed, size=32):
    """The trained model, and the seconds of a typical epoch."""
    torch.manual_seed(seed)
    model = Model(layer, size)
    optimiser = torch.optim.AdamW(init.parameter_groups(model, lr=1e-2, weight_decay=1e-3))  # no decay of time constants
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    seconds = []
    for _ in range(epochs):
        begin = time.perf_counter()
        for rows in torch.randperm(len(x)).split(32):
            optimiser.zero_grad()
            loss = (model(x[rows]) - y[rows])[:, WARM:].square().mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
        schedule.step()
        seconds.append(time.perf_counter() - begin)
    return model.eval(), sorted(seconds)[len(seconds) // 2]


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few epochs: to see that it runs")
    parser.add_argument("--epochs", type=int, help="passes over the training years, 40 by default")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights and batches")
    arguments = parser.parse_args()
    epochs = arguments.epochs or (12 if arguments.quick else 40)

    record = co2.load()  # standardised deviations from the trailing yearly mean; next week's, in the same scale
    inputs, targets = (torch.as_tensor(a, dtype=torch.float32) for a in (record.inputs, record.targets))
    x, y = (a[: record.split - 1].unfold(0, WINDOW, 13)[..., None] for a in (inputs, targets))

    def error(prediction):
        """Root mean square over the held-out weeks, ppm."""
        return record.scale * (prediction - targets)[record.split :].square().mean().sqrt().item()

    print(f"{'':25s} error (ppm)  epoch (ms)  half-life (weeks)  1 % left after (weeks)")
    print(f"{'next week as this week':25s} {error(inputs):11.3f}")
    for name, layer in LAYERS.items():
        model, seconds = train(layer, x, y, epochs, arguments.seed)
        with torch.no_grad():
            found = error(model(inputs[None, :, None])[0, :, 0])
        memory = perdure.memory_function(model, horizon=520, input_size=1).fit()
        print(f"{name:25s} {found:11.3f}  {1e3 * seconds:10.0f}  {memory.half_life:17.1f}  {memory.horizon(0.01):22.0f}")


if __name__ == "__main__":
    main()
