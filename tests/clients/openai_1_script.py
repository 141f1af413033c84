"""A program for openai 1.x. Prints JSON."""

# mypy: ignore-errors
# It runs in an environment of its own, with another openai than the one that mypy sees.

import json
import sys

import openai

ORDER = "say: one, two, three"
MESSAGES = [{"role": "user", "content": ORDER}]


def answer(text, reason, usage):
    return {
        "text": text,
        "finish_reason": reason,
        "usage": usage and [usage.prompt_tokens, usage.completion_tokens],
    }


def folded(chunks, text_of):
    text, reason, usage = "", None, None
    for chunk in chunks:
        choice = chunk.choices[0]
        text += text_of(choice) or ""
        reason = choice.finish_reason or reason
        usage = chunk.usage or usage
    return answer(text, reason, usage)


def ask_both(client):
    asked = {"model": "fake", "stop": "two", "max_tokens": 50}
    completion = client.completions.create(prompt=ORDER, **asked)
    chat = client.chat.completions.create(messages=MESSAGES, **asked)
    completion_stream = client.completions.create(prompt=ORDER, stream=True, **asked)
    chat_stream = client.chat.completions.create(messages=MESSAGES, stream=True, **asked)
    try:
        client.chat.completions.create(model="other", messages=MESSAGES, stream=True)
        error = None
    except openai.NotFoundError as raised:
        error = [raised.status_code, raised.code, raised.param]
    choice, message = completion.choices[0], chat.choices[0]
    return {
        "completion": answer(choice.text, choice.finish_reason, completion.usage),
        "completion_stream": folded(completion_stream, lambda choice: choice.text),
        "chat": answer(message.message.content, message.finish_reason, chat.usage),
        "chat_stream": folded(chat_stream, lambda choice: choice.delta.content),
        "error": error,
    }


def main(root):
    told = {}
    for prefix in ("/v1", "/inference/v1"):
        with openai.OpenAI(base_url=root + prefix, api_key="none", max_retries=0) as client:
            told[prefix] = ask_both(client)
    print(json.dumps(told))


main(sys.argv[1])
