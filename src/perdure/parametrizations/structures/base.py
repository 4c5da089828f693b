"""What a structure of the recurrent weight owes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from perdure import _checks
from perdure.errors import ArgumentTypeError, ModelError
from perdure.parametrizations import Parametrization, get


class Structure(nn.Module):
    """The recurrent weight W (m, m) of dh/dt = W h + ..., built from raw trained parameters that this module owns.

    Call it for W. A family supplies `_weight`, `_assign`, `_assign_spectrum` and `reset_parameters`, and says what it promises.
    Half-precision parameters are widened to float32 for matrix products, and autocast does not reach them.

    Args:
        size: m, the number of states.
        parametrization: scalar map of the eigenvalues' real parts, a name or a `Parametrization`.
        device: where the parameters live; on "meta" they get no values.
        dtype: of the parameters.

    Attributes:
        size: m.
        map: the scalar map.
        name: how `get_structure` and the layers call this structure.
        raw: the parameters that go through the map.

    Raises:
        ValueError: a size below 1, an unknown parametrisation, or one that has no meaning here.
    """

    name: str
    raw: nn.Parameter

    def __init__(self, size: int, parametrization: Parametrization | str = "exp", *, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.size = _checks.positive_int(size, "size", "a recurrent layer has at least one state")
        self.map = get(parametrization)
        self._build({"device": device, "dtype": dtype})
        self.reset_parameters()

    @property
    def stable(self) -> bool:
        """Whether every value of the raw parameters gives eigenvalues with negative real part."""
        return self.map.stable

    @property
    def dissipative(self) -> bool:
        """Whether every value gives W + W^T < 0.

        Then the memory of dh/dt = sigma(Wh + Ux + b) decays too, for every monotone sigma whose integral is bounded below (tanh,
        hardtanh, relu, sigmoid, softplus): V = sum_i int^{z_i} sigma falls at a rate of at least |lambda_max(W + W^T)| |sigma(z)|^2 / 2.
        """
        return self.map.stable

    @property
    def rate_count(self) -> int:
        """How many decay rates can be chosen: m, or ceil(m / 2) in "complex", where two states share one."""
        return self.size

    def by_state(self, rates: Tensor) -> Tensor:
        """Rates (rate_count,), each given to the states that have it (m,): what `assign_spectrum` takes."""
        return rates

    @property
    @abstractmethod
    def guarantee(self) -> str:
        """What holds for every value of the raw parameters, in words."""

    def forward(self) -> Tensor:
        """W (m, m), differentiable in the raw parameters."""
        kind = self.raw.device.type
        if kind != "meta" and torch.is_autocast_enabled(kind):
            with torch.autocast(kind, enabled=False):
                return self._weight().to(self.raw.dtype)
        return self._weight().to(self.raw.dtype)

    @torch.no_grad()
    def assign(self, W: Tensor) -> None:
        """Set the raw parameters so that this module gives W, to rounding.

        Raises:
            ValueError: W is not (m, m), not finite, or not of this structure under this map; the message says which number breaks it.
            TypeError: W is not a real floating point tensor.
        """
        matrix = _real(W, "W", [(self.size, self.size)])
        tolerance = 8.0 * self.size**0.5 * torch.finfo(W.dtype).eps * float(matrix.abs().max())
        self._assign(matrix, tolerance)

    @torch.no_grad()
    def assign_spectrum(self, rates: Tensor, frequencies: Tensor | None = None, generator: torch.Generator | None = None) -> None:
        """Set the raw parameters so that W has the eigenvalues -rates, or -rates ± i frequencies.

        States 2k and 2k + 1 form pair k where there are frequencies. Conjugate eigenvalues have one real part, so that the two rates of a pair
        that turns must be the same, and so must those of every pair of "complex". With an odd m the last state is real.

        Args:
            rates: (m,), per unit time, in the range of the map.
            frequencies: (m // 2,), one a pair, or (m,), the first of each two; radians per unit time. None for real eigenvalues.
            generator: source of the random basis where the structure has one; torch's global generator when None.

        Raises:
            ValueError: wrong shapes, rates the map cannot give, two rates in one pair, or frequencies in a structure whose spectrum is real.
            TypeError: not real floating point tensors.
        """
        rates = _real(rates, "rates", [(self.size,)])
        pairs = self.size // 2
        if frequencies is not None:
            frequencies = _real(frequencies, "frequencies", [(pairs,), (self.size,)])
            frequencies = frequencies if len(frequencies) == pairs else frequencies[0 : 2 * pairs : 2]
        self._unmapped(-rates, "rates", flip=True)
        self._assign_spectrum(rates, frequencies, generator)

    @torch.no_grad()
    def spectrum(self) -> Tensor:
        """The eigenvalues of W, complex128 (m,), detached."""
        return torch.linalg.eigvals(self().double())

    @abstractmethod
    def reset_parameters(self) -> None:
        """Rates spread evenly in logarithm from 0.01 to 1, or as far as the map reaches; nothing random. Does nothing on "meta"."""

    def extra_repr(self) -> str:
        """The size."""
        return f"size={self.size}"

    @abstractmethod
    def _build(self, options: dict[str, Any]) -> None:
        """Create the parameters, without values."""

    @abstractmethod
    def _weight(self) -> Tensor: ...

    @abstractmethod
    def _assign(self, W: Tensor, tolerance: float) -> None:
        """`assign` for a checked W in float64; deviations below the tolerance are rounding."""

    @abstractmethod
    def _assign_spectrum(self, rates: Tensor, frequencies: Tensor | None, generator: torch.Generator | None) -> None:
        """`assign_spectrum` for checked float64 rates (m,) and frequencies (m // 2,)."""

    def _spread(self, count: int) -> Tensor:
        """The initial rates (count,), float64."""
        fastest = -self.map.limits(self.raw.dtype)[0] if self.map.stable else float("inf")
        return torch.logspace(-2.0, 0.0, count, dtype=torch.float64).clamp(max=0.9 * fastest)  # off the end of "inverse", where g' = 0

    def _unmapped(self, real: Tensor, argument: str, kind: str = "made of numbers", flip: bool = False) -> Tensor:
        """Raw values of the real parts of eigenvalues, or the error that names the first the map cannot give (minus it, for rates)."""
        outside = ~self.map.reaches(real.to(self.raw.dtype))
        if bool(outside.any()):
            worst = real[outside][0].item()
            rule = f"{kind} {'whose negatives lie in' if flip else 'in'} {self.map.range_text(self.raw.dtype)}"
            raise _checks.fail(argument, rule, -worst if flip else worst, f'{self.map.advice()}, or structure "dense" with map "direct"')
        return self.map.right_inverse(real.clamp(*self.map.limits(self.raw.dtype)))

    def _one_rate_a_pair(self, rates: Tensor, turning: Tensor) -> None:
        """Refuse two different rates in a pair k with turning[k] (m // 2,); what float32 rounds to one number is the same."""
        first, second = rates[0 : 2 * len(turning) : 2], rates[1 : 2 * len(turning) : 2]
        apart = turning & ((first - second).abs() > 1e-6 * first.abs())
        if bool(apart.any()):
            k = int(apart.nonzero()[0, 0])
            rule = f"the same for states {2 * k} and {2 * k + 1}, a pair of conjugate eigenvalues of structure {self.name!r}"
            fix = 'repeat each rate, rates[:, None].expand(-1, 2).flatten(), or choose structure "diagonal", whose modes have one rate each'
            raise _checks.fail("rates", rule, (first[k].item(), second[k].item()), fix)

    def _real_spectrum(self, frequencies: Tensor | None) -> None:
        """Refuse frequencies where every eigenvalue is real."""
        if frequencies is not None and bool((frequencies != 0).any()):
            value = frequencies[frequencies != 0][0].item()
            fix = 'choose structure "complex", "dissipative" or "dense"'
            raise _checks.fail("frequencies", f"None or zero for structure {self.name!r}, whose eigenvalues are real", value, fix)


def store(parameter: Tensor, value: Tensor) -> None:
    """Write a value into a parameter or buffer in place, in its dtype and on its device."""
    if parameter.is_meta:
        raise ModelError('a structure on the "meta" device holds no values: move it with to_empty(device=...) first')
    with torch.no_grad():
        parameter.copy_(value)


def wide(x: Tensor) -> Tensor:
    """Half precision as float32: matrix exponentials and products of it would lose every slow mode."""
    return x if x.dtype in (torch.float32, torch.float64) else x.to(torch.float32)


def _real(x: Any, argument: str, shapes: list[tuple[int, ...]]) -> Tensor:
    """A finite real tensor of one of the shapes, as float64 on the CPU."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        what = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
        raise ArgumentTypeError(f"expected argument `{argument}` to be a real floating point tensor, but got {what}: pass a float tensor")
    if tuple(x.shape) not in shapes:
        raise _checks.fail(
            argument, "of shape " + " or ".join(map(str, dict.fromkeys(shapes))), tuple(x.shape), "the size of the structure fixes it"
        )
    if x.is_meta:
        raise _checks.fail(argument, "a tensor with values", 'one on the "meta" device', "make it on a real device")
    x = x.detach().cpu().double()
    if not bool(x.isfinite().all()):
        where = (~x.isfinite()).nonzero()[0].tolist()
        raise _checks.fail(argument, "finite everywhere", f"{x[tuple(where)].item()} at index {where}", "remove the NaN or infinity")
    return x
