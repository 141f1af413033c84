"""EleutherAI's evaluation harness, with both of its models for servers of the OpenAI API, in both dialects.

Its loglikelihoods are compared with logprobs that are known, or that are requested without an answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.gguf.head import read_head
from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import IM_END
from crossette.types import GenerationRequest
from support.api_server import DIALECTS, PREFIXES, ApiServer, parrot, say, serving
from support.client_environments import run_client
from support.hf_tokenizers import BOS, write_fake_tokenizer, write_smollm_tokenizer

pytestmark = [pytest.mark.all, pytest.mark.timeout(900)]  # the first test installs both versions

VERSIONS = {"0.4.11": "lm_eval_0_4_11", "0.4.13": "lm_eval_0_4_13"}

Evaluated = dict[tuple[str, str], Any]
"""The results and responses of each task, by prefix and run."""

STOPS = [".", "\n", ",", ";", "?"]
MAX_TOKENS = 12
SYSTEM = "Be brief."
TEXT = "A quiet river carries lanterns.\nSeven sailors count 12 stars.\n" * 3
CAPITALS: list[dict[str, Any]] = [
    {"question": f"The capital of {country} is", "choices": ["Paris", "Rome", "a banana split"], "answer": answer}
    for answer, country in enumerate(("France", "Italy"))
]


def task(name: str, output_type: str, metrics: list[str], docs: list[dict[str, Any]], **config: object) -> object:
    metric_list = [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in metrics]
    return {"task": name, "output_type": output_type, "metric_list": metric_list, "docs": docs, **config}


def generation(name: str, docs: list[dict[str, Any]], **kwargs: object) -> object:
    return task(
        name,
        "generate_until",
        ["exact_match"],
        docs,
        doc_to_text="{{question}}",
        doc_to_target="{{answer}}",
        generation_kwargs={"until": STOPS, "do_sample": False, "max_gen_toks": MAX_TOKENS, **kwargs},
    )


CHOICE = task(
    "choice",
    "multiple_choice",
    ["acc", "acc_norm"],
    CAPITALS,
    doc_to_text="{{question}}",
    doc_to_choice="{{choices}}",
    doc_to_target="{{answer}}",
)
ROLLING = {
    "task": "rolling",
    "output_type": "loglikelihood_rolling",
    "metric_list": [{"metric": "bits_per_byte"}],
    "docs": [{"text": TEXT}],
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
}
SAYS = [{"question": say("Bern. The end"), "answer": "Bern"}, {"question": say("Rome"), "answer": "Rome"}]
ASKS = [{"question": doc["question"], "answer": ""} for doc in CAPITALS]
TEXTS = {
    "fake": [generation("says", SAYS), generation("cut", SAYS, include_stop_str_in_output=False)],
    "real": [generation("asks", ASKS)],
}


def script(request: GenerationRequest, index: int) -> list[int]:
    """What the prompt says, and the end token. Nothing but the end token follows `Paris`."""
    ends = bytes(token for token in request.prompt if token < 256).endswith(b"Paris")
    return [IM_END] if ends else [*parrot(request, index), IM_END]


@pytest.fixture(scope="module")
def real(real_engine: OpenVINOEngine) -> Iterator[ApiServer]:
    with serving(real_engine) as server:
        yield server


@pytest.fixture(scope="module")
def evaluate(
    real: ApiServer, default_gguf: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Evaluated]]:
    """Evaluates all runs with one version, once."""
    folder = tmp_path_factory.mktemp("tokenizers")
    write_fake_tokenizer(folder / "fake")
    write_smollm_tokenizer(read_head(default_gguf), folder / "real")
    known: dict[str, Evaluated] = {}
    with ExitStack() as stack:
        servers = {"fake": stack.enter_context(serving(FakeEngine(script))), "real": real}
        runs = {
            (prefix, f"{kind} {prompts}"): run
            for prefix in PREFIXES
            for kind, server in servers.items()
            for prompts, run in runs_of(kind, server, prefix, folder / kind).items()
        }

        def evaluated(version: str) -> Evaluated:
            if version not in known:
                results = run_client(VERSIONS[version], "lm_eval_models.py", json.dumps(list(runs.values())))
                known[version] = dict(zip(runs, results, strict=True))
            return known[version]

        yield evaluated


def runs_of(kind: str, server: ApiServer, prefix: str, tokenizer: Path) -> dict[str, Any]:
    """The arguments of lm-eval: prompts of token ids, of text, and chats, with examples as earlier turns."""
    model = {"model": server.engine.info.name}
    completions = {**model, "base_url": server.url(f"{prefix}/completions"), "tokenizer": str(tokenizer)}
    chat = {**model, "base_url": server.url(f"{prefix}/chat/completions")}
    as_text = {"tokenized_requests": False, "num_concurrent": 2, "batch_size": 2}
    tasks = [CHOICE, ROLLING, *TEXTS[kind]]
    return {
        "ids": {"model": "local-completions", "model_args": completions, "tasks": tasks},
        "text": {"model": "local-completions", "model_args": completions | as_text, "tasks": tasks},
        "chat": {
            "model": "local-chat-completions",
            "model_args": chat,
            "tasks": TEXTS[kind],
            "apply_chat_template": True,
            "system_instruction": SYSTEM,
            "num_fewshot": 1 if kind == "fake" else 0,
            "fewshot_as_multiturn": kind == "fake",
        },
    }


def responses(found: Any, name: str) -> list[Any]:
    """The responses to each document of a task: one for each of its requests."""
    return [[response[0] for response in requests] for requests in found[name]["responses"]]


every_run = pytest.mark.parametrize("version", VERSIONS)
both_prompts = pytest.mark.parametrize("prompts", ["ids", "text"])


# --- known logprobs: the fake engine's ---


def known_logprob(text: str) -> float:
    """The logprob of a text with the fake engine, in which every token is the most probable one."""
    return sum(-(byte % 8) / 8 for byte in text.encode())


@every_run
@both_prompts
def test_loglikelihoods_are_those_of_the_engine(
    evaluate: Callable[[str], Evaluated], version: str, prefix: str, prompts: str
) -> None:
    found = evaluate(version)[prefix, f"fake {prompts}"]

    assert responses(found, "choice") == [
        [[known_logprob(f" {choice}"), True] for choice in doc["choices"]] for doc in CAPITALS
    ]
    assert responses(found, "rolling") == [[known_logprob(TEXT)]]
    assert found["choice"]["results"]["acc,none"] == 0.5  # " Paris" has the highest logprob after either


@every_run
@pytest.mark.parametrize("prompts", ["ids", "text", "chat"])
def test_generated_texts_end_at_their_stop_strings(
    evaluate: Callable[[str], Evaluated], version: str, prefix: str, prompts: str
) -> None:
    found = evaluate(version)[prefix, f"fake {prompts}"]

    first = "Bern." if DIALECTS[prefix].include_stop else "Bern"
    assert responses(found, "says") == [[first], ["Rome"]]
    assert responses(found, "cut") == [["Bern"], ["Rome"]]
    assert found["cut"]["results"]["exact_match,none"] == 1


# --- the default model ---


@every_run
@both_prompts
def test_loglikelihoods_of_the_real_model_are_its_logprobs(
    real: ApiServer, evaluate: Callable[[str], Evaluated], version: str, prefix: str, prompts: str
) -> None:
    found = evaluate(version)[prefix, f"real {prompts}"]

    scores = [[score(real, doc["question"], f" {choice}") for choice in doc["choices"]] for doc in CAPITALS]
    assert responses(found, "choice") == scores
    assert responses(found, "rolling") == [[score(real, "", TEXT)[0]]]
    best = [max(range(3), key=lambda index: choices[index][0]) for choices in scores]
    assert best[0] == 0, "the capital of France is Paris"
    assert found["choice"]["results"]["acc,none"] == sum(a == b for a, b in enumerate(best)) / 2


@every_run
@pytest.mark.parametrize("prompts", ["ids", "text", "chat"])
def test_generated_texts_of_the_real_model_are_its_greedy_answers(
    real: ApiServer, evaluate: Callable[[str], Evaluated], version: str, prefix: str, prompts: str
) -> None:
    found = evaluate(version)[prefix, f"real {prompts}"]

    limits = {"model": real.engine.info.name, "temperature": 0, "max_tokens": MAX_TOKENS, "stop": STOPS}
    for doc, (text,) in zip(ASKS, responses(found, "asks"), strict=True):
        if prompts == "chat":
            messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": doc["question"]}]
            answer = real.post(f"{prefix}/chat/completions", {**limits, "messages": messages}).json()
            assert text == answer["choices"][0]["message"]["content"]
        else:
            answer = real.post(f"{prefix}/completions", {**limits, "prompt": doc["question"]}).json()
            assert text == answer["choices"][0]["text"]


def score(real: ApiServer, context: str, continuation: str) -> list[Any]:
    """The logprob of a continuation, and whether it is the greedy one. The server generates nothing.

    Without a context, it follows the tokenizer's BOS token.
    """
    tokenizer = real.engine.tokenizer
    before = tokenizer.encode(context, specials=False)
    after = tokenizer.encode(context + continuation, specials=False)[len(before) :]
    before = before or tokenizer.encode(BOS, specials=True)
    body = {"model": real.engine.info.name, "prompt": before + after, "echo": True, "logprobs": 1, "max_tokens": 0}
    records = real.post("/v1/completions", body).json()["choices"][0]["logprobs"]
    own, top = records["token_logprobs"][len(before) :], records["top_logprobs"][len(before) :]
    return [sum(own), all(max(each.values()) == logprob for each, logprob in zip(top, own, strict=True))]
