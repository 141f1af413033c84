"""What the SDKs of OpenAI and of Fireworks are asked alike: one generator made both."""

# mypy: ignore-errors
# It runs in environments of its own, with clients that mypy does not see.

import asyncio
import os

from asked import ASKED, LIMITS, answer, messages
from tools_asked import OFFER, ORDERS

MODEL = ASKED["model"]
PROMPT = ASKED["prompt"]
STREAM_OF_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
SCORED = {"model": MODEL, "max_tokens": 5, "n": 2, "temperature": 0.5, "seed": 1}


class Program:
    """Asks one base URL. `types` are the types of the module `sdk`, by kind of answer."""

    def __init__(self, base_url, sdk, make, make_async, types, completion_logprobs):
        self.base_url = base_url
        self.sdk = sdk
        self.make = make
        self.make_async = make_async
        self.types = types
        self.completion_logprobs = completion_logprobs
        self.client = make(base_url=base_url, api_key="none")
        self.complete = self.client.completions.create
        self.chat = self.client.chat.completions.create

    def scenarios(self):
        return {
            "completion": self.completion,
            "completion stream": lambda: folded(self.complete(model=MODEL, prompt=PROMPT, stream=True, **LIMITS)),
            "chat": lambda: whole_chat(self.chat(model=MODEL, messages=messages(PROMPT), **LIMITS)),
            "chat stream": lambda: folded(self.chat(model=MODEL, messages=messages(PROMPT), stream=True, **LIMITS)),
            "async": lambda: asyncio.run(self.asynchronous()),
            "unknown model": lambda: self.refusal(self.sdk.NotFoundError, model="other"),
            "bad value": lambda: self.refusal(self.sdk.BadRequestError, temperature=3),
            "prompt too long": lambda: self.refusal(self.sdk.BadRequestError, prompt=ASKED["long"]),
            "retries": lambda: {status: self.reply_to(messages(text)) for status, text in ASKED["refused"].items()},
            "broken stream": self.broken_stream,
            "replayed message": self.replayed_message,
            "nulls": self.nulls,
            "token ids": self.token_ids,
            "environment variables": self.environment_variables,
            "fields beyond the SDK": self.more_fields,
            "strict types": self.strict_types,
            "real model": self.real_model,
        }

    def completion(self):
        got = self.complete(model=MODEL, prompt=PROMPT, **LIMITS)
        return answer(got.choices[0].text, got.choices[0].finish_reason, got.usage)

    async def asynchronous(self):
        async with self.make_async(base_url=self.base_url, api_key="none") as client:
            create = client.chat.completions.create
            whole = await create(model=MODEL, messages=messages(PROMPT), **LIMITS)
            stream = await create(model=MODEL, messages=messages(PROMPT), stream=True, **LIMITS)
            return [whole_chat(whole), folded([chunk async for chunk in stream])]

    def refusal(self, kind, **wrong):
        """The same for an answer and for a stream, for the status comes before the stream."""
        told = []
        for stream in (False, True):
            try:
                self.complete(**{"model": MODEL, "prompt": PROMPT, "stream": stream, **wrong})
            except kind as error:
                body = error.body.get("error", error.body)  # openai unwraps it
                told.append([error.status_code, body["code"], body["param"]])
        whole, streamed = told
        assert whole == streamed
        return whole

    def broken_stream(self):
        raise NotImplementedError

    def reply_to(self, turns, **more):
        return self.chat(model=MODEL, messages=turns, **more).choices[0].message.content

    def replayed_message(self):
        said = self.chat(model=MODEL, messages=messages("say: first")).choices[0].message
        return self.reply_to([*messages("say: first"), said, *messages("say: second")])

    def nulls(self):
        unset = dict.fromkeys(["temperature", "top_p", "stop", "seed", "logit_bias", "user", "logprobs"])
        whole = self.complete(model=MODEL, prompt=PROMPT, max_tokens=4, **unset)
        return [whole.choices[0].text, self.reply_to(messages(PROMPT), max_tokens=4, **unset)]

    def token_ids(self):
        prompts = [list(b"say: one"), list(b"say: two")]
        return [choice.text for choice in self.complete(model=MODEL, prompt=prompts).choices]

    def environment_variables(self):
        name = self.sdk.__name__.upper()
        os.environ.update({f"{name}_BASE_URL": self.base_url, f"{name}_API_KEY": "none"})
        with self.make() as client:
            return client.completions.create(model=MODEL, prompt="say: hi").choices[0].text

    def more_fields(self):
        more = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "include_stop_str_in_output": True}
        return self.reply_to(messages(PROMPT), extra_body=more, **LIMITS)

    def strict_types(self):
        """The keys that the SDK's types do not know, where all that they do know is of its type."""
        chat = {**SCORED, "messages": messages(PROMPT), "logprobs": True, "top_logprobs": 2}
        calls = {"model": MODEL, "messages": messages(ORDERS["calls"]), "tools": OFFER}
        completion = {**SCORED, "prompt": [PROMPT, PROMPT], **self.completion_logprobs}
        return {
            "chat": self.unknown("chat", [whole_body(self.client.chat.completions, chat)]),
            "chat chunks": self.unknown("chat chunks", streamed_bodies(self.client.chat.completions, chat)),
            "calls": self.unknown("chat", [whole_body(self.client.chat.completions, calls)]),
            "call chunks": self.unknown("chat chunks", streamed_bodies(self.client.chat.completions, calls)),
            "completion": self.unknown("completion", [whole_body(self.client.completions, completion)]),
            "completion chunks": self.unknown(
                "completion chunks", streamed_bodies(self.client.completions, completion)
            ),
        }

    def unknown(self, kind, bodies):
        checked = (self.types[kind].model_validate_json(body, strict=True) for body in bodies)
        return sorted({key for value in checked for key in _extras(value)})

    def real(self):
        """A client of the server that has the real model."""
        return self.make(base_url=self.base_url.replace(ASKED["root"], ASKED["real_root"]), api_key="none")

    def real_model(self):
        with self.real() as real:
            asked = {"model": ASKED["real_model"], "temperature": 0, "max_tokens": 16}
            create = real.chat.completions.create
            stream = create(messages=messages(ASKED["question"]), stream=True, **asked)
            return [create(messages=messages(ASKED["question"]), **asked).choices[0].message.content, text_of(stream)]


def whole_chat(got):
    return answer(got.choices[0].message.content, got.choices[0].finish_reason, got.usage)


def text_of(chunks):
    choices = [choice for chunk in chunks for choice in chunk.choices or ()]
    return "".join(choice.delta.content or "" if hasattr(choice, "delta") else choice.text for choice in choices)


def folded(chunks):
    chunks = list(chunks)
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(reasons) == 1 and len(usages) < 2, (reasons, usages)
    return answer(text_of(chunks), reasons[0], usages[0] if usages else None)


def whole_body(endpoint, asked):
    return endpoint.with_raw_response.create(**asked).http_response.text


def streamed_bodies(endpoint, asked):
    with endpoint.with_streaming_response.create(**asked, stream=True) as response:
        *lines, done = [line for line in response.iter_lines() if line]
    assert done == "data: [DONE]"
    # openai's type of a completion's chunk is that of the whole: it has no null for a reason that is not known yet.
    is_chat = "messages" in asked
    return [
        line[6:] if is_chat else line[6:].replace('"finish_reason":null', '"finish_reason":"stop"') for line in lines
    ]


def _extras(value, path=""):
    if isinstance(value, list):
        for item in value:
            yield from _extras(item, path)
    for name in getattr(type(value), "model_fields", ()):
        yield from _extras(getattr(value, name), f"{path}{name}.")
    for key in getattr(value, "model_extra", None) or ():
        yield path + key
