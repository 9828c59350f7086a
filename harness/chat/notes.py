"""What was learnt of a server's models: the channel for their verdicts, the parameters that they refuse."""

from __future__ import annotations

import json
from collections.abc import Mapping

from harness.ledger import BROKEN, Ledger


class ModelNotes:
    """Notes on the models of the server called `server`: in a ledger, if there is one, for later runs."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.ledger: Ledger | None = None
        self._notes: dict[str, str] = {}

    def channel(self, model: str) -> str | None:
        """The channel that was remembered for a model, or None."""
        return self._note("capability", model)

    def set_channel(self, model: str, channel: str) -> None:
        """Remember by which channel a model gives its verdict."""
        self._set_note("capability", model, channel)

    def adjustments(self, model: str) -> dict[str, str | None]:
        """Parameters that the model refuses -> the name it takes instead, or None where it is left out."""
        text = self._note("parameters", model)
        try:
            found = json.loads(text) if text else {}
            return {str(name): None if instead is None else str(instead) for name, instead in found.items()}
        except BROKEN:
            # What this process notes itself is sound.
            assert self.ledger is not None
            raise self.ledger.broken(f"the note {self._key('parameters', model)} is none") from None

    def set_adjustments(self, model: str, adjustments: Mapping[str, str | None]) -> None:
        """Remember how the requests of a model are to be changed."""
        self._set_note("parameters", model, json.dumps(adjustments))

    def _note(self, kind: str, model: str) -> str | None:
        key = self._key(kind, model)
        if key not in self._notes and self.ledger is not None:
            noted = self.ledger.note(key)
            if noted is not None:
                self._notes[key] = noted
        return self._notes.get(key)

    def _set_note(self, kind: str, model: str, text: str) -> None:
        key = self._key(kind, model)
        self._notes[key] = text
        if self.ledger is not None:
            self.ledger.set_note(key, text)

    def _key(self, kind: str, model: str) -> str:
        return f"{kind}|{self.server}|{model}"
