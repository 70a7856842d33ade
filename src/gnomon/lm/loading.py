"""Opening a model: from a touchstone, a folder or the Hub, with one clear sentence for whatever goes wrong."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from gnomon.errors import Failure, UsageError
from gnomon.lm.sources import Source, find

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    name: str,
    *,
    device: str,
    dtype: str | torch.dtype,
    adapter: str | None,
    device_map: str | Mapping[str, Any] | None,
    revision: str | None,
    attn_implementation: str | None,
    quantization_config: Any,
    token: str | None,
) -> tuple[Any, Any, dict[str, Any]]:
    """The model, its tokenizer, and the settings that were chosen; see `LM.load`."""
    place, why_place = _choose_device(device, device_map)
    kind, why_kind = _choose_dtype(dtype, place)
    _need_extras(adapter, device_map, quantization_config)
    source = find(name, revision, token)
    where = {"revision": revision, "token": token, "local_files_only": source.here}
    with _quiet(), _explained(name):
        tokenizer = _open_tokenizer(name, source, where)
        model = _open_model(
            name,
            source,
            where,
            {
                "dtype": kind,
                "device_map": device_map,
                "attn_implementation": attn_implementation,
                "quantization_config": quantization_config,
            },
        )
        if device_map is None and not getattr(model, "is_quantized", False):
            model = model.to(place)
        if adapter is not None:
            model = _merge(model, adapter, quantization_config)
    settings = {
        "revision": revision,
        "device": device if device_map is None else None,
        "device_chosen": place,
        "device_reason": why_place,
        "device_map": device_map,
        "dtype": str(dtype).removeprefix("torch."),
        "dtype_chosen": str(model.dtype).removeprefix("torch."),
        "dtype_reason": why_kind,
        "adapter": adapter,
        "attn_implementation": attn_implementation,
        "quantization_config": _plain(quantization_config),
        "token": "given" if token else None,
    }
    return model, tokenizer, settings


def _plain(config: Any) -> Any:
    if config is None or isinstance(config, Mapping):
        return config
    return json.loads(json.dumps(config.to_dict(), default=str))


# -- before anything is read -----------------------------------------------------------------------------------------


_EXTRAS = {"peft": "adapters", "bitsandbytes": "quantized", "accelerate": "large"}


def _need_extras(adapter: str | None, device_map: Any, quantization_config: Any) -> None:
    wanted = {
        "peft": adapter is not None,
        "bitsandbytes": _wants_bitsandbytes(quantization_config),
        "accelerate": device_map is not None,
    }
    for package, needed in wanted.items():
        if needed and importlib.util.find_spec(package) is None:
            raise _missing(package)


def _missing(package: str) -> UsageError:
    return UsageError(
        f"Opening this model needs the package {package}: install it with pip install 'gnomon[{_EXTRAS[package]}]'."
    )


def _wants_bitsandbytes(config: Any) -> bool:
    if config is None:
        return False
    settings = config if isinstance(config, Mapping) else config.to_dict()
    method = str(settings.get("quant_method", ""))
    return (
        bool(settings.get("load_in_4bit") or settings.get("load_in_8bit")) or "bitsandbytes" in method.lower()
    )


def _choose_device(device: str, device_map: Any) -> tuple[str, str]:
    if device_map is not None:
        if device != "auto":
            raise UsageError("device and device_map both say where the model goes: give only one of them.")
        return "by device_map", "device_map was given"
    if device != "auto":
        try:
            kind = torch.device(device).type
        except RuntimeError as error:
            raise UsageError(f"There is no device {device!r}: use auto, cpu, cuda, cuda:0 or mps.") from error
        missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
        if missing.get(kind, False):
            raise UsageError(
                f"The device {device!r} was asked for, but torch finds none here: use device='auto'."
            )
        return device, "asked for"
    if torch.cuda.is_available():
        return "cuda", "a CUDA device is there"
    if torch.backends.mps.is_available():
        return "mps", "an Apple GPU is there"
    return "cpu", "no accelerator is there"


def _choose_dtype(dtype: str | torch.dtype, place: str) -> tuple[str | torch.dtype, str]:
    if isinstance(dtype, torch.dtype):
        return dtype, "asked for"
    if dtype in _DTYPES:
        return _DTYPES[dtype], "asked for"
    if dtype != "auto":
        raise UsageError(f"There is no dtype {dtype!r}: use auto, {', '.join(_DTYPES)}.")
    if place == "cpu":
        return torch.float32, "float32 because half precision is several times slower on a CPU"
    return "auto", "as saved, on an accelerator"


# -- reading the files -----------------------------------------------------------------------------------------------


def _open_tokenizer(name: str, source: Source, where: Mapping[str, Any]) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source.path, trust_remote_code=False, **where)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UsageError(
            f"The model {name} has no tokenizer that can be opened: {_first_line(error)}"
        ) from error
    if not tokenizer.get_vocab():
        raise UsageError(f"The model {name} has no tokenizer files: save its tokenizer beside the weights.")
    return tokenizer


def _open_model(name: str, source: Source, where: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    given = {key: value for key, value in options.items() if value is not None}
    try:
        opened: Any = AutoModelForCausalLM.from_pretrained(
            source.path,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **where,
            **given,
        )
    except SafetensorError as error:
        raise Failure(
            f"The weights of {name} are damaged ({_first_line(error)}): fetch or save them again."
        ) from error
    model, report = opened
    if report["missing_keys"]:
        raise UsageError(
            f"The weights of {name} lack {len(report['missing_keys'])} of the model's parameters, first "
            f"{min(report['missing_keys'])}: they belong to another kind of model, or their file is incomplete."
        )
    return model


def _merge(model: Any, adapter: str, quantization_config: Any) -> Any:
    if quantization_config is not None:
        raise UsageError(
            "An adapter cannot be merged into a quantised model without loss: open it unquantised."
        )
    from peft import PeftModel

    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """One sentence for what transformers says in many."""
    try:
        yield
    except (UsageError, Failure):
        raise
    except torch.OutOfMemoryError as error:
        raise Failure(
            f"The model {name} does not fit into the device's memory: use a smaller dtype, device='cpu' or a device_map."
        ) from error
    except ImportError as error:
        # A checkpoint that is saved quantised asks for its package only when it is read.
        for package in _EXTRAS:
            if package in str(error):
                raise _missing(package) from error
        raise UsageError(f"The model {name} cannot be opened: {_first_line(error)}") from error
    except (ValueError, OSError, RuntimeError) as error:
        raise UsageError(f"The model {name} cannot be opened: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings and no progress bars of transformers while a model is opened; its settings come back after."""
    from transformers import utils

    logging: Any = utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
