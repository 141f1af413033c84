"""The workloads of outputs that copy their input: a text, or a file of code, to repeat with one word changed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from common import Served

from crossette.client.bench.request import RequestResult
from crossette.client.remote import error_text
from peers.requests import completion, connect, good, post, record, together
from peers.runs import Body, Failed, Size


def run_copy(task_of: Callable[[int], CopyTask]) -> Callable[[Served, bool, Size, int], tuple[dict[str, float], Body]]:
    """Repeat the text of a task; for crossette also with the answer as `prediction`. Each seed gives another task."""

    def run(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
        return asyncio.run(_copy(served, is_ours, size, seed, task_of))

    return run


async def _copy(
    served: Served, is_ours: bool, size: Size, seed: int, task_of: Callable[[int], CopyTask]
) -> tuple[dict[str, float], Body]:
    num_texts, num_tokens = 4, min(150, size.output_tokens)
    results: dict[str, list[RequestResult]] = {"plain": [], "predicted": []}
    details: Body = {"copied": await _copied_share(served, task_of(seed), num_tokens)}
    with connect(served) as connection:
        for number in range(1, num_texts + 1):
            task = task_of(seed + number)
            body = completion(served, task.prompt, num_tokens)
            results["plain"].append(good(await post(connection, body)))
            if is_ours:
                # Another text: the prompt of the first one is cached by now.
                task = task_of(seed + number + num_texts)
                prediction = {"prediction": {"type": "content", "content": task.answer}}
                results["predicted"].append(
                    await post(connection, completion(served, task.prompt, num_tokens) | prediction)
                )
    figures = {"tokens_per_s": together(results["plain"])}
    refused = [result.failure.message for result in results["predicted"] if result.failure]
    if refused:
        details["prediction"] = refused[0]
    elif is_ours:
        figures["predicted_tokens_per_s"] = together(results["predicted"])
    return figures, details | {"requests": [record(result) for several in results.values() for result in several]}


@dataclass(frozen=True)
class CopyTask:
    """A prompt of a text, the text with one word changed, and its beginning, which the model continues."""

    prompt: str
    answer: str


def copy_task(seed: int) -> CopyTask:
    """Sentences of about 150 tokens in all; each seed gives another text."""
    rng = random.Random(seed)
    names = rng.sample(("Anna", "Peter", "Maria", "David", "Laura", "Thomas", "Helen", "Robert"), 4)
    things = rng.sample(("book", "table", "garden", "letter", "house", "picture", "road", "glass", "story"), 5)
    days = rng.sample(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"), 3)
    sentences = [
        f"On {days[0]}, {names[0]} went to the market and bought a {things[0]} for {names[1]}.",
        f"The {things[0]} was not what {names[1]} had wanted, but it stood well beside the old {things[1]}.",
        f"{names[2]} said that a {things[2]} would have been better, because the {things[1]} was broken.",
        f"By {days[1]} everybody had heard about the {things[2]}, and {names[3]} wrote a long letter to the mayor.",
        f"The mayor answered that he knew nothing about any {things[3]}, and that {names[0]} should ask again.",
        f"So on {days[2]} they all met in front of the {things[4]}, and {names[2]} read the letter to {names[1]}.",
        f"In the end the {things[3]} was given to {names[3]}, who put it behind the {things[4]} and went home.",
    ]
    text = " ".join(sentences)
    changed = text.replace("the mayor", "the doctor", 1)
    begun = " ".join(changed.split()[:4])
    return CopyTask(f"{text}\n\n{changed}\n\n{changed}\n\n{begun}", changed.removeprefix(begun))


def edit_task(seed: int) -> CopyTask:
    """A Python file of some 300 tokens, in which one function is renamed."""
    rng = random.Random(seed)
    nouns = rng.sample(("order", "invoice", "user", "account", "ticket", "report", "parcel", "payment", "session"), 5)
    fields = rng.sample(("price", "weight", "status", "owner", "created", "label", "limit", "score"), 3)
    functions = [
        f"def find_{noun}({noun}s, {fields[0]}):\n"
        f"    for {noun} in {noun}s:\n"
        f"        if {noun}.{fields[index % 3]} == {fields[0]} and {noun}.{fields[1]} is not None:\n"
        f"            return {noun}\n"
        f"    return None\n"
        for index, noun in enumerate(nouns)
    ]
    file = "\n\n".join(functions)
    changed = file.replace(f"find_{nouns[2]}(", f"get_{nouns[2]}(")
    begun = "\n".join(changed.split("\n")[:2]) + "\n"
    request = f"The same file, with `find_{nouns[2]}` renamed to `get_{nouns[2]}`:"
    return CopyTask(f"```python\n{file}```\n\n{request}\n\n```python\n{begun}", changed.removeprefix(begun))


async def _copied_share(served: Served, task: CopyTask, num_tokens: int) -> float:
    """The share of words of the answer at the same position as in the text. Also warms up the server."""
    body = completion(served, task.prompt, num_tokens) | {"stream": False}
    del body["stream_options"]
    with connect(served) as connection:
        response = await connection.request("POST", "/completions", msgspec.json.encode(body))
        answer = await response.read()
    if response.status != 200:
        raise Failed(error_text(answer))
    words: list[str] = msgspec.json.decode(answer)["choices"][0]["text"].split()
    expected = task.answer.split()[: len(words)]
    return sum(word == other for word, other in zip(words, expected, strict=False)) / max(1, len(expected))
