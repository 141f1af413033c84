"""How many JSON Schemas of a file are served, refused or answered wrongly, by family.

    scripts/schemas FILE [--families JME,Snowplow] [--limit 60] [--workers 2] [--seed 0] [--details FILE]
                         [--model] [--write docs/benchmarks.md]

FILE is .jsonl or .jsonl.gz, with lines {family, name, schema, tests: [{data, valid}]}. Each schema is sent to the app
as a response format, without and with `strict`, and as the parameters of a tool. The engine walks the grammar at
random, and two validators read the result. Then the instances of `tests` are walked through the mask, with their keys
in the order of the schema or in their own, and in the server's notation; llguidance alone compiles the same schema
beside it. With --model, the default model answers those of which a keyword is left to validation, at temperature 1.
Objects with undeclared keys are counted apart: where a schema has `properties`, the server closes it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from common import write

from schemas.cases import read_cases
from schemas.pool import Measured, measure
from schemas.report import MARK, failures, report
from schemas.sampled import sampled

_PROGRESS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--families", default="", help="some of them, by comma")
    parser.add_argument("--limit", type=int, default=60, help="seconds for each step of a schema")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0, help="of the random walks")
    parser.add_argument("--details", type=Path, help="a .jsonl file for the results of each schema")
    parser.add_argument("--model", action="store_true", help="sample the default model, too")
    parser.add_argument("--write", type=Path, help="a page with the marks of this report")
    options = parser.parse_args()
    only = set(filter(None, options.families.split(",")))
    cases = [case for case in read_cases(options.file) if not only or case.family in only]
    if not cases:
        raise SystemExit(f"{options.file} has no schema of {options.families or 'any family'}.")
    results = measure(cases, num_workers=options.workers, limit_s=options.limit, seed=options.seed)
    measured = list(_with_progress(results, len(cases)))
    text = report(measured, options.file.name, _command(options.file))
    if options.model:
        text = "\n".join([text, "", *sampled(measured, options.seed)])
    print(text)
    print(*failures(measured), sep="\n", file=sys.stderr)
    if options.details is not None:
        options.details.write_text("\n".join(map(_detail, measured)) + "\n", encoding="utf-8")
    if options.write is not None:
        write(options.write, MARK, text)


def _command(file: Path) -> str:
    """The command without the folder of its file."""
    arguments = [file.name if argument == str(file) else argument for argument in sys.argv[1:]]
    return " ".join(["scripts/schemas", *arguments])


def _with_progress(results: Iterable[Measured], total: int) -> Iterator[Measured]:
    for number, one in enumerate(results, 1):
        if number % _PROGRESS == 0:
            print(f"{number} of {total}", file=sys.stderr, flush=True)
        yield one


def _detail(one: Measured) -> str:
    answers = {way: [answer.outcome, answer.detail] for way, answer in one.answers.items()}
    walks = [[walked.walk, walked.detail] for walked in one.walks or ()]
    case = {"family": one.case.family, "name": one.case.name}
    return json.dumps(case | {"answers": answers, "instances": walks, "llguidance": one.llguidance})


if __name__ == "__main__":
    main()
