"""Models and weights from files: the module that the user names is the only code that runs, and nothing is unpickled.

* `load_object` imports the named module, as Python would for `python -m`: from the current folder too, and calls what it finds there.
* `load_weights` reads safetensors, or torch's format by its restricted reader, which knows tensors and plain containers and refuses the rest.
* `load_transformers` reads a folder with a configuration and safetensors, offline, and runs no code from it.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from perdure import _checks
from perdure._typing import Tensor
from perdure.errors import ArgumentError, ArgumentTypeError, ModelError

SHOWN = 8
NESTED = ("state_dict", "model_state_dict", "model")
SAFE = "save it anew by safetensors.torch.save_file(model.state_dict(), 'weights.safetensors') where you trust it"


def load_object(name: Any) -> Any:
    """The model that `package.module:attribute` names.

    The module is imported, which runs its code; the attribute may be reached by dots. A module (`nn.Module`) is taken as it is, another
    callable is called without arguments and must return a model. A class is called, too. The current folder is the first place where modules are looked
    for, as by `python -m`; it is taken off the path again once the model is there.

    Raises:
        ArgumentTypeError: not a string.
        ArgumentError: not of that form, no such module, no such attribute, or what it is or returns can't be called.

    >>> load_object("torch.nn:Identity")
    Identity()
    """
    if not isinstance(name, str):
        raise ArgumentTypeError(f"expected argument `model` to be a string such as 'package.module:build', but got {type(name).__name__}")
    module_name, colon, path = name.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        fix = "name the module with dots, then a colon, then the function that builds the model"
        raise _checks.fail("model", "of the form package.module:build", name, fix)
    with _here():
        return _loaded(name, module_name, path)


@contextmanager
def _here() -> Iterator[None]:
    """The current folder first on the path of imports, and off it afterwards."""
    folder = str(Path.cwd())
    if folder in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _loaded(name: str, module_name: str, path: str) -> Any:
    found = _module(module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            raise _checks.fail(
                "model", f"something that {module_name} defines ({_names(found)})", path, "check the spelling of the part after the colon"
            )
        found = getattr(found, part)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise _checks.fail(
            "model", "a model or a function that builds one", f"{type(found).__name__} {name}", "name a function without arguments"
        )
    try:
        built = found()
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # from inside the function
        raise ArgumentError(
            f"expected argument `model` to name a function without arguments, but got {name}, where {error}: "
            "write one that passes the arguments, such as def build(): return Model(...)"
        ) from None
    if not callable(built):
        raise _checks.fail(
            "model", "a function that returns a model", f"{name}, which returns {type(built).__name__}", "let it return a torch module"
        )
    return built


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing != name and not name.startswith(f"{missing}."):
            raise ArgumentError(
                f"expected argument `model` to name a module that can be imported, but got {name!r}, which needs {missing!r}: install that"
            ) from error
    fix = "Python looks for it in the current folder and where it looks for any module: check the spelling, and the folder you are in"
    raise _checks.fail("model", "in a module that can be found", name, fix) from None


def _names(owner: Any) -> str:
    names = [name for name in dir(owner) if not name.startswith("_") and callable(getattr(owner, name, None))]
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "") or "nothing that can be called"


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a file: safetensors by its ending, else torch's own format without unpickling.

    Of a checkpoint, a dictionary with more in it than weights, the part `state_dict`, `model_state_dict` or `model` is taken.

    Raises:
        ArgumentError: no such file, not a file of weights, or one that holds objects other than tensors and plain containers.
    """
    file = Path(path)
    if not file.is_file():
        raise _checks.fail("weights", "a file", str(path), "check the path" if not file.is_dir() else "it is a folder: name the file in it")
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except SafetensorError as error:
            raise ArgumentError(f"expected argument `weights` to be a safetensors file, but got {file.name}: {error}") from error
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        said = str(error)
        named = said.partition("GLOBAL ")[2].split(" ")[0] or said.partition("Unsupported global: ")[2].split(" ")[0]
        if not named:
            raise _no_weights(file, error) from None
        raise ArgumentError(
            f"expected argument `weights` to hold tensors only, but got {file.name}, which names {named}: "
            f"unpickling runs whatever code a file names, so it is refused and nothing of it was run; {SAFE}"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise _no_weights(file, error) from None
    return _tensors(found, file.name)


def _no_weights(file: Path, error: Exception) -> ArgumentError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:150]
    return ArgumentError(
        f"expected argument `weights` to be a file of torch.save or a .safetensors file, but got {file.name}, which cannot be read: {first}"
    )


def _tensors(found: Any, name: str) -> dict[str, Tensor]:
    if isinstance(found, Mapping):
        if found and all(isinstance(value, Tensor) for value in found.values()):
            return dict(found)
        for part in NESTED:
            if isinstance(found.get(part), Mapping):
                return _tensors(found[part], name)
        tensors = {key: value for key, value in found.items() if isinstance(value, Tensor)}
        if tensors and all(isinstance(key, str) for key in tensors):
            return tensors
    what = f"keys {', '.join(map(str, list(found)[:SHOWN]))}" if isinstance(found, Mapping) else f"a {type(found).__name__}"
    fix = f"the weights must be the file itself or its {' or '.join(NESTED)}"
    raise ArgumentError(f"expected argument `weights` to be a dictionary of tensors, but got {name} with {what}: {fix}")


def load_weights(model: Any, path: str | Path) -> Any:
    """The model with the weights of a file, all of them and no more; they are cast to the type of the model's own.

    Args:
        model: changed in place, and only if everything fits.
        path: safetensors, or torch's format, see `read_weights`.

    Raises:
        ArgumentTypeError: the model is no torch module.
        ArgumentError: the file is missing, or is none of weights.
        ModelError: names are missing or too many, or shapes differ; the message lists them.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(
            f"expected argument `model` to be a torch module, but got {type(model).__name__}: weights need a place to go to"
        )
    given = read_weights(path)
    given = _without_prefix(given, model)
    own = model.state_dict()
    tied = _tied(model)
    missing = [name for name in own if name not in given and not any(twin in given for twin in tied.get(name, ()))]
    extra = [name for name in given if name not in own]
    wrong = [
        f"{name} {tuple(t.shape)} for {tuple(own[name].shape)}" for name, t in given.items() if name in own and t.shape != own[name].shape
    ]
    if missing or extra or wrong:
        parts = [
            f"{what} {_listed(names)}"
            for what, names in (("missing", missing), ("unexpected", extra), ("of another shape", wrong))
            if names
        ]
        raise ModelError(
            f"expected argument `weights` to fit the model, but got {Path(path).name} with names {'; '.join(parts)}: "
            "build the model as it was built when they were saved"
        )
    with torch.no_grad():
        model.load_state_dict(given, strict=False)
    return model


def _listed(names: list[str]) -> str:
    return f"({len(names)}) " + ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _without_prefix(given: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Without the prefix that wrappers (data parallel, compiled, Lightning) put before every name, where the names then fit."""
    own = set(model.state_dict())
    for prefix in ("module.", "_orig_mod.", "model."):
        if given and all(name.startswith(prefix) for name in given) and not own & set(given):
            return {name.removeprefix(prefix): value for name, value in given.items()}
    return given


def _tied(model: nn.Module) -> dict[str, list[str]]:
    """Other names of each parameter that has several: safetensors keeps one."""
    by_place: dict[int, list[str]] = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        by_place.setdefault(id(value), []).append(name)
    return {name: names for names in by_place.values() if len(names) > 1 for name in names}


def load_transformers(folder: str | Path, *, dtype: torch.dtype | None = None) -> nn.Module:
    """The model in a folder that `save_pretrained` wrote, in evaluation mode.

    Nothing is downloaded, no code in the folder is run (`trust_remote_code=False`), and weights are read from safetensors only. The class is the
    one that the configuration names where it is one of a language model (so that outputs are logits), else the bare model.

    Args:
        folder: holds config.json and model.safetensors (or its pieces and their index).
        dtype: of the weights, None for the type they were saved in.

    Raises:
        ArgumentError: no such folder, no configuration, no safetensors, code that would have to be run, or transformers is not installed.
    """
    place = Path(folder)
    if not place.is_dir():
        raise _checks.fail("transformers", "a folder", str(folder), "name the folder that save_pretrained wrote; nothing is downloaded")
    if not (place / "config.json").is_file():
        raise _checks.fail("transformers", "a folder with a config.json", str(folder), "name the folder that save_pretrained wrote")
    if not list(place.glob("*.safetensors")):
        held = (
            ", ".join(sorted(f.name for f in place.iterdir() if f.suffix in (".bin", ".pt", ".pth", ".pkl", ".h5", ".msgpack"))) or "none"
        )
        raise _checks.fail(
            "transformers",
            "a folder with weights as .safetensors",
            f"one with {held}",
            "model.save_pretrained(folder) writes them; pickled ones are not read",
        )
    try:
        import transformers
    except ImportError:
        raise ArgumentError(
            "expected argument `transformers` to be left out, because transformers is not installed: pip install 'perdure[transformers]'"
        ) from None
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
    try:
        config = transformers.AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False)
        named = " ".join(getattr(config, "architectures", None) or ())
        kind = transformers.AutoModelForCausalLM if any(word in named for word in ("CausalLM", "LMHead")) else transformers.AutoModel
        with _quiet(transformers.utils.logging):
            model = kind.from_pretrained(place, config=config, **options, **({} if dtype is None else {"dtype": dtype}))
    except (OSError, ValueError, KeyError, ImportError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ArgumentError(
            f"expected argument `transformers` to be a folder that transformers can load, but got {place.name}: {first}"
        ) from error
    return model.eval()


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Without the bar that transformers draws whether or not there is a terminal."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
