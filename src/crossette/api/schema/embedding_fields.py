"""The fields of requests to embedding models, and how each is treated. As `fields.py`, for these endpoints."""

from __future__ import annotations

import math
from typing import Final

from crossette.api.schema import fields
from crossette.api.schema.table import REQUIRED, Description, Field, Table, elsewhere, recorded, refused

MAX_INPUTS: Final = 2048
"""Texts of one request, as OpenAI's limit."""

_MODEL = "A name or an alias of GET /models. The answer repeats it."
_TEMPLATE = "Templates are programs, and requests may not send any: send the finished texts."
_ORDER = "Requests take turns: each step computes texts of the one that got the least so far."

_BOTH = Table(
    {
        "truncate_prompt_tokens": Field(
            "Maximum tokens of each text, special ones included; -1 is the model's window. The end of a longer one is "
            "dropped, and `usage` counts the rest. Without it, a text beyond the window is an error.",
            limits=(-1, math.inf),
        ),
        "perf_metrics_in_response": Field("Add counts and times to the body, as `perf_metrics`.", default=False),
        "prompt_cache_isolation_key": Field(
            "With a model that generates, texts share cached prefixes only with those of the same key, as with the "
            "header `x-prompt-cache-isolation-key`. Embedding models cache nothing."
        ),
        "prompt_cache_key": recorded(f"Identifies a conversation, in up to {fields.MAX_RECORDED} characters."),
        "user": fields.BOTH["user"],
        "safety_identifier": fields.BOTH["safety_identifier"],
        "metadata": fields.BOTH["metadata"],
        "service_tier": refused(f"The priority of a request. {_ORDER}", "auto", "default"),
        "priority": refused(f"The priority of a request. {_ORDER}", 0),
        "stream": refused("Stream the answer: it has no parts.", False),
        "raw_output": refused("The raw prompt and output of the model: a vector has none.", False),
        "prompt_template": refused(f"A template that makes a text of each input. {_TEMPLATE}"),
        "input_type": refused("What the texts are. Write the model's instruction for it into the texts."),
    }
)

EMBEDDINGS = Table(
    {
        "model": Field(
            f"{_MODEL} A model that generates text gives the last hidden state of the last token.", default=REQUIRED
        ),
        "input": Field(
            f"A text, up to {MAX_INPUTS} texts, the token ids of a text, or of several. Token ids are used as they "
            "are: they have the model's special tokens.",
            default=REQUIRED,
        ),
        "encoding_format": Field(
            "`float`: a list of numbers. `base64`: the same numbers as 32-bit floats, little-endian.", default="float"
        ),
        "dimensions": Field(
            "The first so many numbers of each vector, for models that were trained for that; for others only their "
            "own number.",
            default=Description("all"),
            limits=(1, math.inf),
        ),
        "normalize": Field(
            "Whether vectors are scaled to length 1, also shortened ones. False returns them as they are pooled.",
            default=Description("true under /v1; under /inference/v1 what the model's files say"),
        ),
        "add_special_tokens": Field("Whether texts get the model's special tokens, such as `[CLS]`.", default=True),
        "return_logits": refused("Logits of the next token: send `logprobs` to /completions for its probabilities."),
        "fanout_size": refused("How a request is divided: texts are merged with those of other requests."),
        "embed_dtype": refused("The type of the numbers: always 32-bit floats.", "float32"),
        "endianness": refused("The byte order of `base64`: always little-endian.", "native", "little"),
        "messages": elsewhere("/chat/completions"),
        **_BOTH,
    }
)

RERANK = Table(
    {
        "model": Field(f"{_MODEL} An embedding model; without it, the only one.", default=Description("the only one")),
        "query": Field("The text that documents are compared with.", default=REQUIRED),
        "documents": Field(
            f"The documents, as texts or as objects with a `text`, up to {MAX_INPUTS - 1}.",
            default=REQUIRED,
            limits=(1, MAX_INPUTS - 1),
        ),
        "top_n": Field("How many of the most relevant documents are returned.", limits=(1, math.inf)),
        "return_documents": Field("Whether the answer has the documents.", default=True),
        "max_tokens_per_doc": Field(
            "The same as `truncate_prompt_tokens`, for documents alone: send one of them.", limits=(1, math.inf)
        ),
        "task": refused(
            "An instruction for models that were trained with some. Write it into the query, as the model's "
            "documentation shows.",
            "",
        ),
        "rank_fields": refused("Which fields of documents are compared: send them as one text."),
        "max_chunks_per_doc": refused("How many parts of a document are compared: each is one text.", 1),
        **_BOTH,
    }
)
