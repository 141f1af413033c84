"""Load an OpenVINO IR and transform it into a graph with a paged KV cache.

The transformation is not public API of OpenVINO. The assumptions of this file are checked at every load, so that a
release that breaks them causes a clear error, not wrong output.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import requires
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino._offline_transformations import paged_attention_transformation

from crossette.engine import CacheLayers
from crossette.engines.openvino import recurrence
from crossette.engines.openvino.adapters.graph import ADAPTERS, add_adapters
from crossette.engines.openvino.adapters.read import CONFIG, WEIGHTS, read_adapter
from crossette.engines.openvino.cache_sizes import CacheUnits
from crossette.engines.openvino.embeddings import IMAGE_ROWS, SOURCES, add_embeddings, graph_files, take_one_position
from crossette.engines.openvino.kernels.layers import Layers, replace_layers
from crossette.engines.openvino.kernels.load import Kernels
from crossette.engines.openvino.kernels.products import PRODUCT, replace_products
from crossette.engines.openvino.kernels.reader import WINDOW_KV_CACHE
from crossette.engines.openvino.kernels.scores import scores_graph
from crossette.engines.openvino.kv_cache import BLOCK_SIZE
from crossette.engines.openvino.length_choices import Window, settle_window
from crossette.engines.openvino.recurrence import StateTable, separate_recurrence, state_tables
from crossette.engines.openvino.sliding_layers import (
    WINDOW_BLOCKS,
    SlidingLayers,
    attentions,
    fixed_windows,
    separate_sliding_layers,
    slides,
)
from crossette.errors import ModelError
from crossette.types import WindowLimit

WANTED = "sampled_tokens_indices"
"""An input that we add: indices of the step's tokens for which the head is computed."""

FILLER = "filler_tokens"
"""An input that we add for products of our own: how many tokens at the end of the step need no results."""

INPUTS = frozenset(
    {
        "input_ids",
        "position_ids",
        "past_lens",
        "subsequence_begins",
        "block_indices",
        "block_indices_begins",
        "max_context_len",
        WANTED,
    }
)

ALIBI_SLOPES = 11
"""An input port of the attention node."""

_CACHE_DTYPE = ["runtime_options", "KV_CACHE_PRECISION"]
"""Where a graph names the type of its caches."""


@dataclass(frozen=True, slots=True)
class CacheShape:
    """A cache of keys, of values, or of both of several layers: `[blocks, *block_shape]` of `element_type`."""

    name: str
    element_type: Any  # ov.Type: the package has no stubs for it
    block_shape: tuple[int, ...]
    slides: bool
    """Whether its layers have sliding window attention, and blocks of their own."""
    num_layers: int
    """How many layers it has the keys of."""

    @property
    def block_bytes(self) -> int:
        return int(prod(self.block_shape) * self.element_type.size)


@dataclass(frozen=True, slots=True)
class PagedModel:
    """A compiled graph that takes flat tokens and block tables, and its caches."""

    compiled: ov.CompiledModel
    caches: tuple[CacheShape, ...]
    fingerprint: str
    """A hash of all that determines the computation except the machine: the graph, OpenVINO's build, the settings."""
    window: Window
    """The window in which the graph is served."""
    sliding_window: int
    """The window of layers with sliding window attention and block tables of their own; 0 without any."""
    image_width: int | None = None
    """The width of an image's embeddings; None for a graph that takes token ids alone."""
    adapters: tuple[str, ...] = ()
    """The adapters of the graph, in the order of their numbers, which begin at 1."""
    states: tuple[StateTable, ...] = ()
    """The states of recurrent layers."""
    own_layers: bool = False
    """Whether one node of crossette's own computes all layers."""
    own_products: int = 0
    """How many products with matrices are computed by kernels of crossette's own."""
    own_head: bool = False
    """Whether the head is one of them."""
    scores: ov.CompiledModel | None = None
    """The graph of `kernels/scores.py`, for hidden states that are the third output of `compiled`; None if the head
    cannot score tokens by itself."""

    @property
    def units(self) -> CacheUnits:
        return CacheUnits(
            sum(cache.block_bytes for cache in self.caches if not cache.slides),
            sum(cache.block_bytes for cache in self.caches if cache.slides),
            self.sliding_window,
            sum(state.row_bytes for state in self.states),
        )

    @property
    def cache_layers(self) -> tuple[CacheLayers, ...]:
        """The layers of both kinds of attention, and the memory of their caches."""
        return tuple(
            CacheLayers(
                num_layers=sum(cache.num_layers for cache in self.caches if cache.slides is slides),
                token_bytes=sum(cache.block_bytes // BLOCK_SIZE for cache in self.caches if cache.slides is slides),
                window=self.sliding_window if slides else None,
            )
            for slides in sorted({cache.slides for cache in self.caches})
        )


def load_paged(
    directory: Path,
    *,
    threads: int,
    window: int,
    limits: Iterable[WindowLimit] = (),
    family: str = "unknown",
    kv_cache_dtype: str = "auto",
    adapters: Mapping[str, Path] | None = None,
    kernels: Kernels | None = None,
) -> PagedModel:
    """Read, transform and compile the model of `directory`; the settings are those of docs/exactness.md.

    `window` is the most tokens of a sequence, `limits` are those that the model's files declare, and `family` is the
    model's architecture, for error messages.
    `kv_cache_dtype` is an OpenVINO type such as "f32"; "auto" is the type that the graph names, else "u8".
    `adapters` are the folders of LoRA adapters by name. `kernels` compute the products that they can.
    Raises ModelError for a model that cannot be served.
    """
    adapters = adapters or {}
    core = ov.Core()
    path, *text = graph_files(directory)
    try:
        model = core.read_model(path)
        _refuse_without_attention(model, family)
        paged_attention_transformation(model)
        if text:
            add_embeddings(model, *map(core.read_model, text))
            take_one_position(model)
        separate_recurrence(model, family)
        _refuse_without_positions(model, family)
        settled = settle_window(model, window, limits, slides=slides(model))
        sliding = separate_sliding_layers(model, settled.limit.tokens)
        add_adapters(model, [read_adapter(name, folder) for name, folder in adapters.items()], family)
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot serve {path}: {_first_line(error)}") from error
    rows = _gather_before_head(model)
    cache_dtype = _named_cache_dtype(model) if kv_cache_dtype == "auto" else kv_cache_dtype
    layers = _take_layers(model, rows, kernels) if kernels and cache_dtype == "u8" else None
    own_products = _take_kernels(model, kernels) if kernels else 0
    properties = _properties(threads, cache_dtype)
    scores = _take_scores(model, rows, kernels) if kernels else None
    compiled = core.compile_model(model, "CPU", properties)
    return PagedModel(
        compiled,
        _checked_caches(compiled, family, sliding, layers.num_layers if layers else {}),
        _fingerprint((path, *text, *_adapter_files(adapters.values())), _determinants(properties, settled, kernels)),
        settled,
        sliding.window,
        _image_width(compiled),
        tuple(adapters),
        state_tables(compiled),
        layers is not None,
        own_products + (layers.num_products if layers else 0),
        all(port.get_node().get_type_name() in (PRODUCT, "Result") for port in rows.get_target_inputs()),
        core.compile_model(scores, "CPU", properties) if scores is not None else None,
    )


def _take_layers(model: ov.Model, rows: ov.Output, kernels: Kernels) -> Layers | None:
    """Let one node compute all layers, if kernels can."""
    windows = {node.get_name(): window for node, window in fixed_windows(model)}
    return replace_layers(model, rows.get_node().input_value(0), windows, kernels.factory)


def _take_kernels(model: ov.Model, kernels: Kernels) -> int:
    """Let kernels compute the products that they can; returns how many."""
    filler = ops.parameter([1], np.int32, name=FILLER)
    filler.get_output_tensor(0).set_names({FILLER})
    replaced = replace_products(model, kernels.factory, filler.output(0))
    if filler.output(0).get_target_inputs():
        model.add_parameters([filler])
        model.validate_nodes_and_infer_types()
    return replaced


def _take_scores(model: ov.Model, rows: ov.Output, kernels: Kernels) -> ov.Model | None:
    """The graph that scores tokens by the head, if kernels can: then the hidden states of all tokens are an output."""
    scores = scores_graph(model, kernels.factory)
    if scores is not None:
        model.add_results([ops.result(rows.get_node().input_value(0))])
    return scores


def _properties(threads: int, cache_dtype: str) -> dict[str, object]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        "KEY_CACHE_QUANT_MODE": "BY_TOKEN",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "KV_CACHE_PRECISION": cache_dtype,
    }


def _determinants(properties: dict[str, object], window: Window, kernels: Kernels | None) -> dict[str, object]:
    """What the computation depends on besides the files."""
    return {**properties, "short": window.short, "kernels": kernels.key if kernels else ""}


def _named_cache_dtype(model: ov.Model) -> str:
    """The type of the caches that the graph names, as those of float weights do; else 8 bits."""
    if not model.has_rt_info(_CACHE_DTYPE):
        return "u8"
    named: str = model.get_rt_info(_CACHE_DTYPE).astype(str)
    return named


def _refuse_without_attention(model: ov.Model, family: str) -> None:
    """Raise ModelError for a graph without attention: those of Mamba, and of models that do not generate text."""
    if all(node.get_type_name() != "ScaledDotProductAttention" for node in model.get_ops()):
        raise ModelError(
            f"The family '{family}' is not supported: its graph has no attention (ScaledDotProductAttention), and only"
            " models with attention are served. Choose a model of another family."
        )


def _refuse_without_positions(model: ov.Model, family: str) -> None:
    """Raise ModelError for a graph that lost its positions: the transformation drops masks that it does not recognise.

    Some models add positions to the attention mask (ALiBi). If recognised they become slopes, else they are lost.
    """
    nodes = attentions(model)
    has_slopes = any(node.input_value(ALIBI_SLOPES).get_shape() != ov.Shape([0]) for node in nodes)
    if nodes and not has_slopes and _users(model, "position_ids") == []:
        raise ModelError(
            f"The family '{family}' is not supported yet: it encodes positions in the attention mask, which is lost in "
            f"the paged graph. Choose a model of another family."
        )


def _users(model: ov.Model, name: str) -> list[Any] | None:
    """The nodes that read an input; None if there is no such input."""
    for parameter in model.get_parameters():
        if name in parameter.output(0).get_names():
            return [port.get_node() for port in parameter.output(0).get_target_inputs()]
    return None


def _adapter_files(folders: Iterable[Path]) -> list[Path]:
    return [folder / name for folder in folders for name in (CONFIG, WEIGHTS)]


def _fingerprint(paths: Iterable[Path], properties: dict[str, object]) -> str:
    settings = f"{ov.get_version()} {sorted(properties.items())} "
    return hashlib.sha256(settings.encode() + b"".join(path.read_bytes() for path in paths)).hexdigest()


def _gather_before_head(model: ov.Model) -> ov.Output:
    """Compute the LM head, the largest matrix product of a step, only for the tokens whose logits are needed.

    Returns the rows that it is computed for.
    """
    head = model.get_results()[0].input_value(0).get_node()
    while head.get_type_name() != "MatMul":
        if head.get_input_size() == 0:
            raise ModelError("This model's output is not a matrix product, so it is not an LLM.")
        head = head.input_value(0).get_node()
    wanted = ops.parameter([-1], np.int64, name=WANTED)
    wanted.get_output_tensor(0).set_names({WANTED})
    rows = ops.gather(head.input_value(0), wanted, ops.constant(np.int64(0)))
    head.input(0).replace_source_output(rows.output(0))
    model.add_parameters([wanted])
    model.add_results([ops.result(rows)])  # after the logits: the last hidden states, as the head gets them
    model.validate_nodes_and_infer_types()
    return rows.output(0)


def _checked_caches(
    compiled: ov.CompiledModel, family: str, sliding: SlidingLayers, joined: Mapping[str, int]
) -> tuple[CacheShape, ...]:
    """The caches of a compiled graph, in the order of its inputs; `joined` are the layers of those of several.

    Raises ModelError for unexpected inputs.
    """
    names = {port.get_any_name() for port in compiled.inputs}
    caches = tuple(
        CacheShape(
            name,
            port.get_element_type(),
            tuple(port.get_partial_shape()[axis].get_length() for axis in (1, 2, 3)),
            name in sliding.caches or name == WINDOW_KV_CACHE,
            joined.get(name, int(name.startswith("key_cache."))),
        )
        for port in compiled.inputs
        if (name := port.get_any_name()) in joined or name.startswith(("key_cache.", "value_cache."))
    )
    unknown = (
        names
        - INPUTS
        - {IMAGE_ROWS, SOURCES, ADAPTERS, WINDOW_BLOCKS, FILLER}
        - {cache.name for cache in caches}
        - recurrence.INPUTS
    )
    unknown = {name for name in unknown if recurrence.STATE not in name}
    missing = INPUTS - names
    if unknown or missing or not caches or any(cache.block_shape[1] != BLOCK_SIZE for cache in caches):
        raise ModelError(
            f"OpenVINO {ov.__version__} made a paged graph that this version of crossette does not support: "
            f"unknown inputs {sorted(unknown)}, missing {sorted(missing)}, "
            f"caches {[cache.block_shape for cache in caches[:2]]}, blocks of {BLOCK_SIZE} expected. "
            f"{_advice(family)}"
        )
    return caches


def _image_width(compiled: ov.CompiledModel) -> int | None:
    widths = [port.get_partial_shape()[1] for port in compiled.inputs if port.get_any_name() == IMAGE_ROWS]
    return int(widths[0].get_length()) if widths else None


def _advice(family: str) -> str:
    """What to do about an unsupported graph: install the supported OpenVINO release, or choose another family."""
    release = next(name for name in requires("crossette") or () if name.startswith("openvino=="))
    if ov.__version__.startswith(release.removeprefix("openvino==").rstrip("*")):
        return f"The family '{family}' is not supported yet: choose a model of another family."
    return f"Install the release that crossette supports: pip install '{release}'."


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
