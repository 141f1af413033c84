"""A program of 2023, for openai 0.28, written as Fireworks' page of that year tells it."""

# mypy: ignore-errors
# It runs in an environment of its own, with another openai than the one that mypy sees.

import asyncio
import os
import subprocess
import sys

import openai
from asked import ASKED, LIMITS, answer, messages, tell
from functions_2023 import FunctionScenarios

MODEL = ASKED["model"]
PROMPT = ASKED["prompt"]
KEY = "<YOUR_FIREWORKS_API_KEY>"


class Program:
    def __init__(self, base_url):
        self.base_url = base_url
        self.real_url = base_url.replace(ASKED["root"], ASKED["real_root"])
        # warning: it has a process-wide effect
        openai.api_base = base_url
        openai.api_key = KEY

    def scenarios(self):
        return {
            "completion": lambda: whole_completion(complete()),
            "completion stream": lambda: folded(complete(stream=True)),
            "chat": lambda: whole_chat(chat()),
            "chat stream": lambda: folded(chat(stream=True)),
            "usage in every chunk": self.usage_in_every_chunk,
            "async": lambda: asyncio.run(self.asynchronous()),
            "unknown model": lambda: self.refusal(model="other"),
            "bad value": lambda: self.refusal(temperature=3),
            "prompt too long": lambda: self.refusal(prompt=ASKED["long"]),
            "told to retry": self.told_to_retry,
            "broken stream": self.broken_stream,
            "models": self.models,
            "replayed message": self.replayed_message,
            "nulls": self.nulls,
            "fields beyond the SDK": self.more_fields,
            "settings of one request": self.settings_of_one_request,
            "environment variables": self.environment_variables,
            "real model": self.real_model,
            **FunctionScenarios(self.base_url, self.real_url).scenarios(),
        }

    def usage_in_every_chunk(self):
        """`chunk["usage"]`, as the page prints it: what it is before the last chunk, and the total there."""
        *before, last = [chunk.get("usage", "no such key") for chunk in chat(stream=True)]
        assert all(usage == before[0] for usage in before)
        return [before[0], last["total_tokens"] if isinstance(last, dict) else last]

    async def asynchronous(self):
        stream = await openai.ChatCompletion.acreate(model=MODEL, messages=messages(PROMPT), stream=True, **LIMITS)
        whole = await openai.ChatCompletion.acreate(model=MODEL, messages=messages(PROMPT), **LIMITS)
        return [whole_chat(whole), folded([chunk async for chunk in stream])]

    def refusal(self, **wrong):
        """The same for an answer and for a stream, for the status comes before the stream."""
        told = []
        for stream in (False, True):
            try:
                openai.Completion.create(**{"model": MODEL, "prompt": PROMPT, "stream": stream, **wrong})
            except openai.error.InvalidRequestError as error:
                told.append([error.http_status, error.json_body["error"]["code"], error.param])
        whole, streamed = told
        assert whole == streamed
        return whole

    def told_to_retry(self):
        """This SDK does not retry by itself: it says which error it was, and a second attempt succeeds."""
        told = {}
        for status, text in ASKED["refused"].items():
            try:
                told[status] = openai.ChatCompletion.create(model=MODEL, messages=messages(text))
            except (openai.error.RateLimitError, openai.error.ServiceUnavailableError) as error:
                again = openai.ChatCompletion.create(model=MODEL, messages=messages(text))
                told[status] = [type(error).__name__, again["choices"][0]["message"]["content"]]
        return told

    def broken_stream(self):
        text = ""
        try:
            for chunk in openai.Completion.create(model=MODEL, prompt=ASKED["broken"], max_tokens=50, stream=True):
                text += chunk["choices"][0]["text"]
        except openai.error.APIError as error:
            return {"text": text, "code": error.json_body["error"]["code"]}

    def models(self):
        listed = [model["id"] for model in openai.Model.list()["data"]]
        return {"listed": listed, "retrieved": openai.Model.retrieve(ASKED["slashed"])["id"]}

    def replayed_message(self):
        said = openai.ChatCompletion.create(model=MODEL, messages=messages("say: first"))["choices"][0]["message"]
        turns = [*messages("say: first"), said, *messages("say: second")]
        return openai.ChatCompletion.create(model=MODEL, messages=turns)["choices"][0]["message"]["content"]

    def nulls(self):
        unset = dict.fromkeys(["temperature", "top_p", "stop", "logit_bias", "n", "user", "logprobs"])
        asked = {"model": MODEL, "max_tokens": 4, **unset}
        return [
            openai.Completion.create(prompt=PROMPT, **asked)["choices"][0]["text"],
            openai.ChatCompletion.create(messages=messages(PROMPT), **asked)["choices"][0]["message"]["content"],
        ]

    def more_fields(self):
        more = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "include_stop_str_in_output": True}
        return chat(**more)["choices"][0]["message"]["content"]

    def settings_of_one_request(self):
        """api_base and api_key can be passed to any of the supported APIs."""
        openai.api_base, openai.api_key = "http://127.0.0.1:9/nobody", None
        own = {"api_base": self.base_url, "api_key": KEY}
        told = [whole_completion(complete(**own)), folded(chat(stream=True, **own))]
        openai.api_base, openai.api_key = self.base_url, KEY
        return told

    def environment_variables(self):
        """Settings for the entire application: a process that is told nothing else."""
        program = "import openai; print(openai.Completion.create(model='fake', prompt='say: hi')['choices'][0]['text'])"
        settings = {"OPENAI_API_BASE": self.base_url, "OPENAI_API_KEY": KEY}
        ran = subprocess.run([sys.executable, "-c", program], env={**os.environ, **settings}, capture_output=True)
        return (ran.stdout + ran.stderr).decode().strip()

    def real_model(self):
        asked = {"model": ASKED["real_model"], "temperature": 0, "max_tokens": 16, "api_base": self.real_url}
        whole = openai.ChatCompletion.create(messages=messages(ASKED["question"]), **asked)
        stream = openai.ChatCompletion.create(messages=messages(ASKED["question"]), stream=True, **asked)
        return [whole["choices"][0]["message"]["content"], folded(stream)["text"]]


def complete(**more):
    return openai.Completion.create(**{"model": MODEL, "prompt": PROMPT, **LIMITS, **more})


def chat(**more):
    return openai.ChatCompletion.create(**{"model": MODEL, "messages": messages(PROMPT), **LIMITS, **more})


def whole_completion(got):
    return answer(got["choices"][0]["text"], got["choices"][0]["finish_reason"], got["usage"])


def whole_chat(got):
    return answer(got["choices"][0]["message"]["content"], got["choices"][0]["finish_reason"], got["usage"])


def folded(chunks):
    text, reason, usage = "", None, None
    for chunk in chunks:
        choice = chunk["choices"][0]
        text += choice["text"] if "text" in choice else choice["delta"].get("content", "")
        reason = choice["finish_reason"] or reason
        usage = chunk.get("usage") or usage
    return answer(text, reason, usage)


tell(["/v1", "/inference/v1"], lambda base_url: Program(base_url).scenarios())
