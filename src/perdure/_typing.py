"""Array types with shapes: read by people always, checked by jaxtyping and beartype in the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

ArrayLike = npt.ArrayLike

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]  # real or complex, as the docstring says
    from jaxtyping import Complex, Float, Num
else:
    Array = npt.NDArray[Any]
    try:
        from jaxtyping import Complex, Float, Num
    except ImportError:  # jaxtyping is a test dependency: without it the annotations are plain words

        class _Unchecked:
            def __class_getitem__(cls, item):
                return item[0]

        Complex = Float = Num = _Unchecked

NDArray = np.ndarray

__all__ = ["Array", "ArrayLike", "Complex", "Float", "NDArray", "Num", "Tensor"]
