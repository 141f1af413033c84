"""A program of 2023, for openai 0.28, written as Fireworks' page of that year tells it. Prints JSON."""

# mypy: ignore-errors
# It runs in an environment of its own, with another openai than the one that mypy sees.

import json
import sys

import openai

ORDER = "say: one, two, three"
MESSAGES = [{"role": "user", "content": ORDER}]


def usage(value):
    return value and [value["prompt_tokens"], value["completion_tokens"]]


def answer(text, reason, counts):
    return {"text": text, "finish_reason": reason, "usage": usage(counts)}


def folded(chunks, text_of):
    text, reason, counts = "", None, None
    for chunk in chunks:
        choice = chunk["choices"][0]
        text += text_of(choice)
        reason = choice["finish_reason"] or reason
        counts = chunk.get("usage") or counts
    return answer(text, reason, counts)


def ask_both():
    """With process-wide settings."""
    asked = {"model": "fake", "stop": "two", "max_tokens": 50}
    completion = openai.Completion.create(prompt=ORDER, **asked)
    chat = openai.ChatCompletion.create(messages=MESSAGES, **asked)
    completion_stream = openai.Completion.create(prompt=ORDER, stream=True, **asked)
    chat_stream = openai.ChatCompletion.create(messages=MESSAGES, stream=True, **asked)
    try:
        openai.Completion.create(model="other", prompt=ORDER)
        error = None
    except openai.error.InvalidRequestError as raised:
        error = [raised.http_status, raised.json_body["error"]["code"], raised.param]
    choice, message = completion["choices"][0], chat["choices"][0]
    return {
        "completion": answer(choice["text"], choice["finish_reason"], completion["usage"]),
        "completion_stream": folded(completion_stream, lambda choice: choice["text"]),
        "chat": answer(message["message"]["content"], message["finish_reason"], chat["usage"]),
        "chat_stream": folded(chat_stream, lambda choice: choice["delta"].get("content", "")),
        "error": error,
    }


def ask_per_request(root):
    """With settings of one request, and the stream's usage as the page prints it."""
    openai.api_base = "http://127.0.0.1:9/nobody"
    openai.api_key = None
    texts, usages, models = [], [], set()
    for chunk in openai.Completion.create(
        api_base=root + "/inference/v1",
        api_key="<YOUR_FIREWORKS_API_KEY>",
        model="accounts/fireworks/models/starcoder-16b-w8a16",
        prompt=ORDER,
        stop=["two"],
        stream=True,
    ):
        texts.append(chunk["choices"][0]["text"])
        usages.append(usage(chunk["usage"]))
        models.add(chunk["model"])
    return {"text": "".join(texts), "usages": usages, "chunks": len(texts), "model": "".join(models)}


def main(root):
    told = {}
    for prefix in ("/v1", "/inference/v1"):
        openai.api_base = root + prefix
        openai.api_key = "<YOUR_FIREWORKS_API_KEY>"
        told[prefix] = ask_both()
    told["per_request"] = ask_per_request(root)
    print(json.dumps(told))


main(sys.argv[1])
