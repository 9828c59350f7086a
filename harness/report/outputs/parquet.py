"""examples.parquet: every answer of a run as one row, for pandas, datasets and SQL engines.

Written batch by batch, so that a run of any size takes the memory of one batch. The same examples give the
same bytes with the same version of pyarrow: there is no date in it, and one thread writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InputError
from harness.records import ALL
from harness.text import well_formed

if TYPE_CHECKING:
    import pyarrow

Json = Mapping[str, Any]

ROWS, CHARACTERS = 10_000, 8_000_000
"""A batch is written when it has as many rows, or as many characters of prompts, references and answers."""
_TEXTS = ("example_id", "reference", "candidate", "answer", "error", "finish_reason")


def column_of(metric: str) -> str:
    """The column of a metric's scores."""
    return f"score_{well_formed(metric)}"


def schema(results: Json) -> pyarrow.Schema:
    """The columns and their types; reports/README.md says what they hold."""
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    verdict = pa.struct(
        [
            ("judge", pa.string()),
            ("opponent", pa.string()),
            ("candidate_first", pa.bool_()),
            ("outcome", pa.string()),
            ("reason", pa.string()),
        ]
    )
    return pa.schema(
        [
            ("example_id", pa.string()),
            ("prompt", pa.list_(message)),
            *((name, pa.string()) for name in _TEXTS[1:]),
            ("tokens", pa.int64()),
            *((column_of(metric["name"]), pa.float64()) for metric in results["metrics"]),
            ("verdicts", pa.list_(verdict)),
        ]
    )


class ParquetExamples:
    """Takes the lines of examples.jsonl one by one; the file is whole once it is closed."""

    def __init__(self, path: Path, results: Json) -> None:
        import pyarrow.parquet as pq

        self._schema = schema(results)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._candidates = [candidate["name"] for candidate in results["candidates"]]
        self._scores = [metric["name"] for metric in results["metrics"]]
        self._robins = {judge["name"] for judge in results["judges"] if judge["against"] == ALL}
        self._batch = _Batch(self._schema)
        self._characters = 0

    def add(self, entry: Json) -> None:
        """The rows of one example: a row for each candidate that was asked."""
        prompt = [(message["role"], message["content"]) for message in entry["prompt"]]
        shared = sum(len(content) for _, content in prompt) + len(entry["reference"] or "")
        verdicts = self._verdicts(entry["verdicts"])
        for candidate in self._candidates:
            answer = entry["answers"].get(candidate)
            if answer is None:
                continue
            scores = answer.get("scores") or {}
            self._batch.add(
                (entry["id"], prompt, entry["reference"], candidate, answer["text"], answer.get("error"),
                 answer.get("finish_reason"), answer.get("tokens"), *map(scores.get, self._scores),
                 verdicts.get(candidate, ()))
            )  # fmt: skip
            self._characters += shared + len(answer["text"] or "")
        if self._batch.rows >= ROWS or self._characters >= CHARACTERS:
            self._write()

    def close(self) -> None:
        """Write what is left and the file's end."""
        self._write()
        self._writer.close()

    def abandon(self) -> None:
        """Let go of a file that will not be finished."""
        self._writer.close()

    def _verdicts(self, by_judge: Json) -> dict[str, list[tuple[Any, ...]]]:
        """Candidate -> its verdicts. Where all meet all, a verdict stands with both whom it is about."""
        found: dict[str, list[tuple[Any, ...]]] = {}
        for judge, by_candidate in by_judge.items():
            for candidate, verdicts in by_candidate.items():
                for verdict in verdicts:
                    opponent, first = verdict["opponent"], verdict["candidate_first"]
                    seen = _seen(judge, opponent, first, verdict)
                    found.setdefault(candidate, []).append(seen)
                    if judge in self._robins:
                        mirrored = _seen(judge, candidate, not first, verdict)
                        found.setdefault(opponent, []).append(mirrored)
        return found

    def _write(self) -> None:
        import pyarrow as pa

        if not self._batch.rows:
            return
        try:
            table = self._batch.table()
        except (pa.ArrowException, TypeError, OverflowError) as error:
            what = f"an example cannot be written as a row of examples.parquet: {error}"
            raise InputError(" ".join(what.split()), fix="run the suite again") from error
        self._writer.write_table(table)
        self._batch, self._characters = _Batch(self._schema), 0


class _Batch:
    """Rows as columns; what is nested as columns of its own, which arrow takes far faster than dicts."""

    def __init__(self, schema: pyarrow.Schema) -> None:
        self._schema = schema
        self._columns: list[list[Any]] = [[] for _ in schema]
        self.rows = 0

    def add(self, row: tuple[Any, ...]) -> None:
        """Values in the schema's order; of a list of structs, tuples in the order of its fields."""
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)
        self.rows += 1

    def table(self) -> pyarrow.Table:
        import pyarrow as pa

        arrays = [
            _array(column, field.type) for column, field in zip(self._columns, self._schema, strict=True)
        ]
        return pa.table(arrays, schema=self._schema)


def _array(values: list[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    import pyarrow as pa

    if pa.types.is_list(kind):
        ends = list(accumulate(map(len, values), initial=0))
        flat = list(chain.from_iterable(values))
        fields = [kind.value_type.field(place) for place in range(kind.value_type.num_fields)]
        inner = [_array([each[place] for each in flat], field.type) for place, field in enumerate(fields)]
        return pa.ListArray.from_arrays(
            pa.array(ends, pa.int32()), pa.StructArray.from_arrays(inner, fields=fields)
        )
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 cannot hold: rare, so looked for last
        return pa.array([value and well_formed(value) for value in values], kind)


def _seen(judge: str, opponent: str, first: bool, verdict: Json) -> tuple[Any, ...]:
    """A verdict as the player sees it who stood `first` or not: the fields of the schema's struct."""
    choice = verdict["choice"]
    mine = verdict["candidate_first"] == first
    won = {"first": verdict["candidate_first"], "second": not verdict["candidate_first"]}.get(choice)
    outcome = choice if won is None else "win" if won == mine else "loss"
    return judge, opponent, first, outcome, verdict.get("reason")
