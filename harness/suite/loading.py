"""suite.yaml as a Suite: complete, checked, with absolute paths; nothing is computed and nothing written.

Whatever is wrong is one line with its place: `suite.yaml:14:7: candidates.lora.method.lora.rank: unknown
key; did you mean 'r'?`. The keys and their defaults are in keys.py and settings.py, and for people in
suites/README.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from harness.data.sources import SourceSpec
from harness.records import ALL, REFERENCE, Method, ModelRef
from harness.registry import Plugin
from harness.suite.grids import check_points, read_points
from harness.suite.inputs import check_apart, read_model, read_prompting, read_sources, read_split
from harness.suite.judging import check_panels, read_judge, with_members_opponents
from harness.suite.keys import CandidateKeys, DataKeys, JudgeKeys, SuiteKeys
from harness.suite.launch import read_launch
from harness.suite.methods import read_method, trains
from harness.suite.recipes import read_generation, read_training
from harness.suite.sections import Reader, Written
from harness.suite.selection import Chosen, read_backend, read_plugins, read_prompts, read_seeds
from harness.suite.specs import (
    BASE,
    Candidate,
    DataSpec,
    EvaluatorSpec,
    GridPoint,
    JudgeSpec,
    Suite,
)
from harness.suite.yaml_source import Document, apply_override, read_document
from harness.validation import suggestion

Spec = TypeVar("Spec", EvaluatorSpec, JudgeSpec)


def load_suite(path: Path, overrides: Sequence[str] = ()) -> Suite:
    """The suite in a file, with `key.path=value` overrides on top.

    Raises InputError: SuiteError, or DataError, ModelError or PluginError where a dataset, a base model
    or a plugin is at fault.
    """
    document = read_document(path, str(path))
    for override in overrides:
        apply_override(document, override)
    loading = _Loading(Reader(path.resolve().parent), document)
    suite = loading.suite(path, tuple(overrides))
    if error := document.error(loading.reader.faults):
        raise error
    return suite


class _Loading:
    """A document on its way to a Suite: its parts share a reader and the suite's own keys."""

    def __init__(self, reader: Reader, document: Document) -> None:
        self.reader, self.document = reader, document
        self._meant: dict[tuple[type, str], EvaluatorSpec | JudgeSpec] = {}
        self.keys = reader.section(SuiteKeys, Written(document.value, ()))
        self.recipes = reader.mapping(self._own("candidates"), "a mapping of names to recipes")
        self.data = self._data()
        self.model = self._model()
        self.evaluators = self._evaluators(self._own("evaluators"))
        self.judges = self._judges(self._own("judges"))
        self.seeds = read_seeds(self.reader, self._own("seeds"))

    def suite(self, path: Path, overrides: tuple[str, ...]) -> Suite:
        keys = self.keys
        if keys.name is not None:
            self.reader.name(keys.name, ("name",))
        if not keys.candidates and isinstance(keys.candidates, dict | None):
            self.reader.fault(("candidates",), "no candidates", "add one, such as lora: {method: lora}")
        return Suite(
            path=path.resolve(),
            display_path=self.document.name,
            folder=self.reader.folder,
            name=keys.name or _default_name(path.resolve()),
            description=keys.description,
            text=self.document.text,
            overrides=overrides,
            model=self.model,
            data=self.data,
            prompting=read_prompting(self.reader, self._own("prompting")),
            candidates=(self._base(), *(self._searched(name, recipe) for name, recipe in self._named())),
            evaluators=self.evaluators,
            judges=self.judges,
            seeds=self.seeds,
            rank_by=self._rank_by(),
            price_per_gpu_hour=keys.price_per_gpu_hour,
            budget_usd=keys.budget_usd,
        )

    def _own(self, key: str) -> Written:
        """What the suite's top level says; an empty key counts as left out."""
        value = getattr(self.keys, key)
        default = SuiteKeys.model_fields[key].default
        return Written(default if value is None else value, (key,))

    def _model(self) -> ModelRef:
        if self.keys.model is None:
            self.reader.fault(("model",), "missing", "give a base model's folder or Hub id")
            return ModelRef("")
        return read_model(self.reader, self._own("model"))

    def _data(self) -> DataSpec:
        written = self._own("data")
        if not isinstance(written.value, dict):
            keys, train = DataKeys(), written
        else:
            keys = self.reader.section(DataKeys, written)
            train = Written(keys.train, written.at("train"))
        if train.value is None:
            self.reader.fault(train.path, "missing", "give a dataset's file, folder or Hub id")
        data = DataSpec(
            train=() if train.value is None else read_sources(self.reader, train),
            validation=None if keys.validation is None else self._split("validation", keys.validation),
            eval=None if keys.eval is None else self._split("eval", keys.eval),
            overlap=keys.overlap,
        )
        check_apart(self.reader, data)
        return data

    def _split(self, name: str, value: Any) -> float | int | tuple[SourceSpec, ...]:
        return read_split(self.reader, Written(value, ("data", name)))

    def _named(self) -> list[tuple[str, Written]]:
        """The candidates whose names can be used."""
        found = []
        for name, recipe in self.recipes.items():
            path = ("candidates", name)
            if name == BASE:
                what = "'base' is the untrained model, which is always a candidate"
                self.reader.fault(path, what, "choose another name")
            elif name == ALL:
                what = "'all' stands for all candidates in a judge's against"
                self.reader.fault(path, what, "choose another name")
            elif self.reader.name(name, path):
                found.append((name, Written(recipe, path)))
        return found

    def _searched(self, name: str, written: Written) -> Candidate:
        """A candidate, with the points of its grid where it has one."""
        recipe = self.reader.mapping(written)
        if recipe.get("grid") is None:
            return self._candidate(name, written)
        grid = Written(recipe["grid"], written.at("grid"))
        found = read_points(
            self.reader, grid, written, lambda point: self._candidate(name, point), self._own("method").value
        )
        if not found:
            return self._candidate(name, written)
        points = [
            GridPoint(settings, point.method, point.training) for settings, point in found if point.method
        ]
        check_points(self.reader, grid, points, validated=self.data.validation is not None)
        return replace(found[0][1], grid=tuple(points))

    def _candidate(self, name: str, written: Written) -> Candidate:
        keys = self.reader.section(CandidateKeys, written)

        def part(key: str) -> Written:
            """What the candidate says of a part, or what the suite says."""
            value = getattr(keys, key)
            return self._own(key) if value is None else Written(value, written.at(key))

        chosen = part("backend")
        backend, spec = read_backend(self.reader, chosen)
        if name == REFERENCE and backend is not None and backend.name != REFERENCE:
            what = "'reference' means the examples' reference answers"
            self.reader.fault(written.path, what, "choose another name, or backend: reference")
        method = self._method(backend, keys, part("method"), written)
        training = Written(keys.training, written.at("training"))
        generation = Written(keys.generation, written.at("generation"))
        trained = self._training(backend, method, training)
        return Candidate(
            name=name,
            model=self.model if keys.model is None else read_model(self.reader, part("model")),
            backend=spec,
            method=method,
            training=trained,
            launch=self._launch(backend, part("launch"), trained),
            generation=read_generation(self.reader, self._own("generation"), generation, backend),
            evaluators=self.evaluators if keys.evaluators is None else self._evaluators(part("evaluators")),
            judges=self.judges if keys.judges is None else self._judges(part("judges")),
            seeds=self.seeds if keys.seeds is None else read_seeds(self.reader, part("seeds")),
            backend_where=f"{self.document.where(chosen.path)}: {'.'.join(map(str, chosen.path))}",
        )

    def _base(self) -> Candidate:
        """The untrained model, which also stands for the suite's defaults: they are checked with it."""
        return replace(self._candidate(BASE, Written({}, ())), method=None)

    def _method(
        self, backend: Plugin | None, keys: CandidateKeys, method: Written, candidate: Written
    ) -> Method | None:
        """How to train; None where the backend stands in for a trained model, or after a fault."""
        if backend is None:
            return None
        if trains(backend):
            return read_method(self.reader, method, backend)
        if keys.method is not None:
            what = f"backend '{backend.name}' trains nothing"
            self.reader.fault(candidate.at("method"), what, "leave it out")
        return None

    def _training(self, backend: Plugin | None, method: Method | None, own: Written) -> dict[str, Any]:
        if backend is None:
            return {}
        validated = self.data.validation is not None
        return read_training(self.reader, self._own("training"), own, backend, method, validated=validated)

    def _launch(
        self, backend: Plugin | None, written: Written, training: Mapping[str, Any]
    ) -> dict[str, Any]:
        if backend is None or not trains(backend):
            return {}
        return read_launch(self.reader, written, backend, training)

    def _evaluators(self, written: Written) -> tuple[EvaluatorSpec, ...]:
        if written.value == []:
            self.reader.fault(written.path, "no evaluators", "name at least one, such as perplexity")
        chosen = read_plugins(self.reader, "evaluator", written, frozenset({"name"}))
        return tuple(self._evaluator(c) for c in chosen)

    def _evaluator(self, chosen: Chosen) -> EvaluatorSpec:
        where = self.document.where(chosen.options.path)
        prompts = read_prompts(self.reader, chosen)
        return self._one_meaning(EvaluatorSpec(chosen.name, chosen.spec, prompts, where), chosen)

    def _judges(self, written: Written) -> tuple[JudgeSpec, ...]:
        chosen = read_plugins(self.reader, "judge", written, frozenset(JudgeKeys.model_fields))
        judges = with_members_opponents([self._judge(c) for c in chosen], chosen)
        check_panels(self.reader, {judge.name: judge for judge in judges}, chosen)
        return judges

    def _judge(self, chosen: Chosen) -> JudgeSpec:
        where = self.document.where(chosen.options.path)
        return self._one_meaning(read_judge(self.reader, chosen, [BASE, *self.recipes], where), chosen)

    def _one_meaning(self, spec: Spec, chosen: Chosen) -> Spec:
        """A name has one meaning in a suite: what stands in one column of the board must be comparable."""
        if self._meant.setdefault((type(spec), spec.name), spec) != spec:
            what = f"'{spec.name}' has other options here than elsewhere in the suite"
            self.reader.fault(chosen.options.path, what, "give it another by name: in its options")
        return spec

    def _rank_by(self) -> str:
        """The evaluator or judge that orders the board: by default the first evaluator."""
        evaluators = [evaluator.name for evaluator in self.evaluators]
        judges = [judge.name for judge in self.judges]
        wanted = self.keys.rank_by
        if wanted is None:
            return next(iter(evaluators), "")
        if evaluators and wanted not in evaluators + judges:
            fix = suggestion(wanted, evaluators + judges)
            self.reader.fault(("rank_by",), f"no evaluator or judge '{wanted}'", fix)
        elif wanted in evaluators and wanted in judges:
            what = f"'{wanted}' is an evaluator and a judge"
            self.reader.fault(("rank_by",), what, "give one of them another by name: in its options")
        return wanted


def _default_name(path: Path) -> str:
    """The file's stem, or its folder's name where the file is called suite.yaml, as a name can be."""
    stem = path.parent.name if path.stem == "suite" else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-") or "suite"
