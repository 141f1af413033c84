"""Load a model folder: graph, tokenizer, KV cache, and the measured width of a step."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from crossette.engine import CacheLayers, ModelFiles, ModelInfo
from crossette.engines.openvino.cache_manager import CacheManager
from crossette.engines.openvino.cache_sizes import CacheSizes, cache_sizes
from crossette.engines.openvino.calibration_cache import CalibrationCache
from crossette.engines.openvino.exactness import measure_width
from crossette.engines.openvino.kernels.load import load_kernels
from crossette.engines.openvino.kv_cache import BlockPool
from crossette.engines.openvino.model import PagedModel, load_paged
from crossette.engines.openvino.runner import FILLER_TOKENS, Runner
from crossette.engines.openvino.scheduler import Scheduler
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.engines.openvino.sliding_windows import WindowPool
from crossette.engines.openvino.states import StatePool
from crossette.engines.openvino.tokenizer import ModelTokenizer, load_tokenizer
from crossette.engines.openvino.vision import Vision
from crossette.errors import ModelError
from crossette.machine import usable_cpus
from crossette.types import WindowLimit

_MIN_PROMPT_TOKENS = 16
"""Tokens of a step that are reserved for prompts when the batch is full, so that decoding never starves prefill."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """The parts of a loaded model that an engine runs."""

    info: ModelInfo
    tokenizer: ModelTokenizer
    runner: Runner
    scheduler: Scheduler
    pool: BlockPool
    warnings: tuple[str, ...]
    threads: int
    kv_bytes: int
    kv_layers: tuple[CacheLayers, ...]
    own_products: int = 0
    """How many products with matrices kernels of crossette's own compute."""
    vision: Vision | None = None


def load(files: ModelFiles, settings: OpenVINOSettings) -> LoadedModel:
    """Compile, allocate and measure. Measurements are cached in `files.cache` and repeated only if something changed.

    Raises ModelError or ConfigError.
    """
    threads = settings.threads or usable_cpus()
    requested = min(files.context_length, settings.max_model_len or files.context_length)
    with ThreadPoolExecutor(1) as executor:  # compiling takes one core for seconds, without the GIL
        loading = executor.submit(load_tokenizer, files.path, add_bos=files.add_bos)
        model = load_paged(
            files.path,
            threads=threads,
            window=requested,
            limits=files.limits,
            family=files.architecture,
            kv_cache_dtype=settings.kv_cache_dtype,
            adapters=files.adapters,
            kernels=load_kernels() if settings.kernels == "auto" else None,
        )
    tokenizer = loading.result()
    limit = model.window.limit
    sizes = cache_sizes(model.units, limit.tokens, settings)
    pool = BlockPool(sizes.blocks)
    runner = Runner(model, sizes.blocks, threads=threads, num_rows=sizes.rows, num_window_blocks=sizes.window_blocks)
    width = measure_width(
        runner,
        pool,
        limit=settings.max_step_tokens,
        window=limit.tokens,
        vocab_size=tokenizer.vocab_size,
        cache=CalibrationCache(files.cache, model.fingerprint) if files.cache else None,
    )
    vision, unseen = _vision(files, model, tokenizer, settings, threads)
    window = min(limit.tokens, sizes.longest_text(model.units, settings.max_step_tokens))
    return LoadedModel(
        replace(files.info(context_length=window, vocab_size=tokenizer.vocab_size), sees=vision is not None),
        tokenizer,
        runner,
        _scheduler(pool, sizes, model, width.tokens, settings),
        pool,
        (*files.differences, *_window_warnings(limit, window), *_choice_warnings(model), *width.warnings, *unseen),
        threads,
        sizes.num_bytes(model.units),
        model.cache_layers,
        model.own_products,
        vision,
    )


def _vision(
    files: ModelFiles, model: PagedModel, tokenizer: ModelTokenizer, settings: OpenVINOSettings, threads: int
) -> tuple[Vision | None, tuple[str, ...]]:
    """The vision graph of a model that sees. If it cannot be used, the model reads text, and a warning says why."""
    if not files.sees or model.image_width is None:
        return None, ()
    try:
        vision = Vision(
            files.path,
            tokenizer,
            threads=threads,
            width=model.image_width,
            max_pixels=settings.max_image_pixels,
        )
    except ModelError as error:
        return None, (f"Images are not accepted, only text: {error}",)
    return vision, ()


def _window_warnings(limit: WindowLimit, window: int) -> tuple[str, ...]:
    """The warning about a limit; none if the user requested it, or if memory limits the window further."""
    if not limit.reason or limit.tokens > window:
        return ()
    return (f"Only {limit.tokens} tokens of context are served: {limit.reason}.",)


def _choice_warnings(model: PagedModel) -> tuple[str, ...]:
    """Which of its two computations, for short or for long texts, a model with both uses, and how to get the other."""
    if (short := model.window.short) is None:
        return ()
    return (
        f"Texts of all lengths use the rotary factors for long ones, since the window is longer than {short} tokens. "
        f"With a max_model_len of {short}, all use the factors for short ones.",
    )


def _scheduler(
    pool: BlockPool, sizes: CacheSizes, model: PagedModel, width: int, settings: OpenVINOSettings
) -> Scheduler:
    budget = max(min(settings.max_step_tokens, width) - FILLER_TOKENS, _MIN_PROMPT_TOKENS + 1)
    window = model.sliding_window
    windows = WindowPool(sizes.window_blocks, window=window, chunk=budget) if window else None
    states = StatePool(sizes.rows) if sizes.rows else None
    most = settings.max_sequences if states is None else min(settings.max_sequences, states.num_rows)
    return Scheduler(
        CacheManager(pool, windows, states, keeps_output=model.own_layers),
        max_sequences=min(most, budget - _MIN_PROMPT_TOKENS),
        max_step_tokens=budget,
        max_draft_rows=settings.max_draft_rows,
    )
