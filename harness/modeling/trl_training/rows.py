"""The canonical rows as the dataset that SFTTrainer takes, packed by TRL where asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from trl import pack_dataset

from harness.modeling.batching import IGNORED, labels
from harness.modeling.supervision import Encoded

# Stages report their own progress.
disable_progress_bar()

PACKING_STRATEGY = "bfd"
"""Rows are whole and fit: `bfd_split` would do the same, and `wrapped` would tear them into one another."""


@dataclass(frozen=True)
class TrainerRows:
    """A dataset with `input_ids` and `labels`, and what each of its rows holds.

    `parts` are the lengths of the rows that were packed into it, `targets` the tokens it is trained on, and
    `names` stand for it in an error message.
    """

    dataset: Dataset
    parts: list[list[int]]
    targets: list[int]
    names: list[str]

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [sum(parts) for parts in self.parts]


def trainer_rows(rows: Sequence[Encoded], capacity: int | None = None) -> TrainerRows:
    """The rows as a dataset in memory, packed by TRL to at most `capacity` tokens where it is given."""
    dataset = Dataset.from_list([{"input_ids": row.input_ids, "labels": labels(row)} for row in rows])
    names = [row.example_id for row in rows]
    if capacity is not None:
        dataset = pack_dataset(dataset, capacity, PACKING_STRATEGY)
        names = [f"packed row {index}" for index in range(len(dataset))]
    packed = "seq_lengths" in dataset.column_names
    return TrainerRows(
        dataset,
        parts=dataset["seq_lengths"][:] if packed else [[len(ids)] for ids in dataset["input_ids"]],
        # The first label of a row has nothing before it to be predicted from.
        targets=[sum(label != IGNORED for label in row[1:]) for row in dataset["labels"]],
        names=names,
    )
