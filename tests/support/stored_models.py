"""Models in a store, without a graph."""

from __future__ import annotations

from typing import Any

from crossette.models.store import ModelRecord, ModelStore, StoredModel


def add_model(store: ModelStore, name: str, *, weights: bytes = b"", **fields: Any) -> StoredModel:
    """Add a model with these weights; `fields` are those of its record that matter."""
    record = {
        "source": name,
        "revision": None,
        "sha256": None,
        "architecture": "llama",
        "quantization": "Q4_1",
        "context_length": 4096,
        "end_token_ids": frozenset({2}),
        "add_bos": False,
        "converter": None,
        "created": 1,
        **fields,
    }
    with store.add(name) as folder:
        store.write_record(folder, ModelRecord(**record))
        if weights:
            (folder / "openvino_model.bin").write_bytes(weights)
    found = store.find(name)
    assert found is not None
    return found
