"""What can go wrong, as one tree.

HarnessError
├── InputError          the user can mend it: one line that says where, what and the fix; exit code 2
│   ├── SuiteError      suite.yaml: unreadable, unknown key, wrong type
│   ├── DataError       a dataset: missing, empty, malformed, columns not recognised
│   ├── ModelError      a base model: missing folder, no tokenizer, a target module that matches nothing
│   └── PluginError     a backend, evaluator or judge: unknown, ambiguous, not a plugin
│       └── NoKeyError      its server needs a key: what asks nobody does without
├── StageError          a stage failed; its row turns red, the others go on; exit code 1
│   ├── TrainingDiverged    the loss or a gradient is NaN or infinite
│   ├── OutOfMemory         the device has no memory left
│   └── BudgetExhausted     the suite's budget_usd is spent
├── StoreError          the store cannot be read or written
└── HubError            the Hub refused an upload, or could not be reached
"""

from __future__ import annotations


class HarnessError(Exception):
    """Root of all errors that the harness raises on purpose."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or the name of its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


class InputError(HarnessError):
    """Something the user wrote or pointed to is wrong; the text is one line, ready to print.

    `where` is a place (`suite.yaml:14:7`, `data.jsonl:3`), `what` the fault, `fix` the likely remedy.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(what, where, fix)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}; {self.fix}" if self.fix else head

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; keyword-only arguments need help to survive pickling.
        return (_rebuild, (type(self), self.what, self.where, self.fix))


def _rebuild(kind: type[InputError], what: str, where: str, fix: str) -> InputError:
    return kind(what, where=where, fix=fix)


class SuiteError(InputError):
    """suite.yaml cannot be understood."""


class DataError(InputError):
    """A dataset cannot be used."""


class ModelError(InputError):
    """A base model cannot be used."""


class PluginError(InputError):
    """A backend, evaluator or judge cannot be found or created."""


class NoKeyError(PluginError):
    """A server that a plugin asks needs a key, and there is none."""


class StageError(HarnessError):
    """A stage failed for a reason that the user should read on the board."""


class TrainingDiverged(StageError):  # noqa: N818 - the event is the name
    """The loss or the gradient norm is NaN or infinite."""


class OutOfMemory(StageError):  # noqa: N818
    """The device ran out of memory."""


class BudgetExhausted(StageError):  # noqa: N818
    """The suite's budget is spent. What was paid for is kept, and is not asked again."""


class StoreError(HarnessError):
    """The store cannot be read or written."""


class HubError(HarnessError):
    """The Hub refused an upload, or could not be reached. The text is one line, ready to print."""
