"""Audit an LSTM as torch initialises it and with its forget gates opened, and put the two on one page.

Run `python examples/audit_an_lstm.py compare.html` (a few seconds). Beside the comparison stands a page for each: compare-1.html and compare-2.html.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from perdure.audits.audit import audit
from perdure.audits.compare import compare
from perdure.audits.require import requirement


def lstm(forget_bias):
    torch.manual_seed(0)
    layer = torch.nn.LSTM(1, 16)
    with torch.no_grad():
        layer.bias_ih_l0[16:32] += forget_bias  # the gates come in the order input, forget, cell, output
    return layer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, help="where to save the comparison, such as compare.html")
    path = parser.parse_args().page
    if not path.resolve().parent.is_dir():
        parser.error(f"no such folder: {path.resolve().parent}")
    found = [
        audit(lstm(bias), horizon=300, lengths=(1, 2), name=name) for name, bias in (("as initialised", 0.0), ("forget bias + 2", 2.0))
    ]
    for number, one in enumerate(found, 1):
        one.save(path.with_name(f"{path.stem}-{number}.html"))
        print(f"{one.name:15s}  half-life {one.reading(0.5)} steps, 1 % left after {one.reading(0.01)}; law: {one.law}")
        print(f"{'':15s}  {requirement('horizon(0.01) >= 30').check(one)}")
        for said in one.recommendations[:1]:
            print(f"{'':15s}  {said['text'].split(':')[0].split('.')[0]}. {said['number']}")
    compare(*found).save(path)
    print(f"saved {path}")


if __name__ == "__main__":
    main()
