"""torch.compile of every layer and operation: outputs and gradients equal those of ordinary calls.

Run as a program, `python tests/conformance/compiled.py BACKEND [few]`, because the run-time type checks of the test suite cannot be traced.
"""

import sys
import warnings

import torch

from perdure.nn import ContinuousRNN, DiagonalSSM
from perdure.ops.recurrence import recurrence


def agree(function, compiled, inputs, name):
    """Outputs and all gradients, whole graph."""
    for x in inputs:
        x.grad = None
    found, wanted = compiled(*inputs), function(*inputs)
    torch.testing.assert_close(found, wanted, msg=lambda m: f"{name}: {m}")
    leaves = [t for t in inputs if t.requires_grad]
    for a, b in zip(torch.autograd.grad(found.square().sum(), leaves), torch.autograd.grad(wanted.square().sum(), leaves), strict=True):
        torch.testing.assert_close(a, b, msg=lambda m: f"{name}, gradient: {m}")
    print(name)


def main(backend, few=False):
    """All of them, or with `few` one operation and one of each kind of layer."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_()

    for weight in (normal(4, 4), normal(4))[: 1 if few else 2]:

        def run(x, w, h):
            return recurrence(x, w, h, step=0.2)[0]

        agree(
            run,
            torch.compile(run, fullgraph=True, backend=backend),
            (normal(6, 3, 4), weight, normal(3, 4)),
            f"recurrence {tuple(weight.shape)}",
        )
    layers = {
        f"ContinuousRNN {structure} {integrator}": ContinuousRNN(
            2, 4, structure=structure, integrator=integrator, output_size=1, batch_first=True
        )
        for structure in ("diagonal", "complex", "symmetric", "dissipative", "dense")
        for integrator in ("euler", "exponential", "rk4")
    }
    layers |= {f"DiagonalSSM real={real}": DiagonalSSM(2, 3, state_size=4, real=real) for real in (False, True)}
    if few:
        layers = {name: layers[name] for name in ("ContinuousRNN diagonal euler", "DiagonalSSM real=False")}
    for name, layer in layers.items():
        torch._dynamo.reset()  # all of them are calls of one code object, which torch compiles eight times at the most
        layer.double()

        def run(x, layer=layer):
            return layer(x)[0]

        agree(run, torch.compile(run, fullgraph=True, backend=backend), (normal(2, 5, 2),), name)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], "few" in sys.argv[2:])
