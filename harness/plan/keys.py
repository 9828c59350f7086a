"""What stands for a value in a cache key: content instead of a path, code instead of a name."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import hub, registry
from harness.data.sources import SourceSpec
from harness.records import ModelRef, PluginSpec, to_json
from harness.store import Store, digest
from harness.suite.settings import READ_BY_HARNESS, READ_BY_PREDICT

VOLATILE = READ_BY_HARNESS | READ_BY_PREDICT | {"save_steps"}
"""Settings that cannot change a result: they reach the worker, but not the key."""


class Identities:
    """Looks up, once each, what models and sources are. `where` is named when one cannot be found."""

    def __init__(self, store: Store, where: str) -> None:
        self._store, self._where = store, where
        self._models: dict[ModelRef, ModelRef] = {}

    def model(self, ref: ModelRef) -> ModelRef:
        """The model with its identity: the digest of its files, or the Hub's commit."""
        if ref not in self._models:
            self._models[ref] = self._identify(ref)
        return self._models[ref]

    def _identify(self, ref: ModelRef) -> ModelRef:
        folder = Path(ref.name_or_path)
        if folder.is_absolute():
            return dataclasses.replace(ref, identity=self._store.content_digest(folder))
        commit = hub.pin(ref.name_or_path, ref.revision, "model", where=self._where)
        return dataclasses.replace(ref, revision=commit, identity=f"{ref.name_or_path}@{commit}")

    def source(self, source: SourceSpec) -> SourceSpec:
        """The source with its revision pinned, if it is on the Hub."""
        if source.local:
            return source
        commit = hub.pin(source.path, source.revision, "dataset", where=self._where)
        return dataclasses.replace(source, revision=commit)

    def view(self, value: Any) -> Any:
        """All of a stage's parameters that can change its result, as JSON values."""
        if isinstance(value, PluginSpec):
            return {"plugin": value.name, "code": value.code, "options": registry.key_options(value)}
        if isinstance(value, ModelRef):
            return value.identity
        if isinstance(value, SourceSpec):
            return self._source_view(value)
        if isinstance(value, Mapping):
            return {key: self.view(item) for key, item in value.items() if key not in VOLATILE}
        if isinstance(value, list | tuple):
            return [self.view(item) for item in value]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: self.view(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return to_json(value)

    def _source_view(self, source: SourceSpec) -> dict[str, Any]:
        view: dict[str, Any] = to_json(source)
        if source.local:
            view["path"] = self._store.content_digest(Path(source.path))
        return view


def step_key(stage: str, params: Any, inputs: Mapping[str, str]) -> str:
    """`<stage>-<32 hex digits>`: the stage in front is for people who look into the store."""
    return f"{stage}-{digest([stage, _version(stage), params, dict(inputs)])[:32]}"


def _version(stage: str) -> int:
    version: int = importlib.import_module(f"harness.stages.{stage}").VERSION
    return version
