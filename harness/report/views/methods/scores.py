"""The methods paragraph on the metrics: how they are computed, and what intervals and verdicts rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness import format as fmt
from harness.report.views.methods.citing import cite, listed, word

Json = Mapping[str, Any]
WORKS: Mapping[str, tuple[str, ...]] = {
    "bleu": ("papineni2002bleu", "post2018sacrebleu"),
    "chrf": ("popovic2015chrf", "post2018sacrebleu"),
    "rouge_l": ("lin2004rouge",),
}
"""Plugin of a metric -> whom to cite."""


def passage(results: Json) -> Iterator[str]:
    """Sentences on the metrics, their intervals and the tests of differences."""
    metrics = results["metrics"]
    if not metrics:
        return
    yield f"Metrics: {'; '.join(_metric(metric) for metric in metrics)}."
    yield from _intervals(results)
    if any("p_value" in row for c in results["candidates"] for row in c["differences"].values()):
        yield from _tests(results)


def _metric(metric: Json) -> str:
    plugin = metric["plugin"]["name"]
    works = WORKS.get(plugin, ())
    if plugin == "chrf" and str(metric["label"]).startswith("chrF+"):
        works = ("popovic2015chrf", "popovic2017chrf", "post2018sacrebleu")
    by = ", computed as by sacrebleu" if "post2018sacrebleu" in works else ""
    grader = metric["plugin"]["options"].get("model")
    model = f", by the model {word(grader)}" if grader else ""
    return f"{word(metric['label'])}{cite(*works) if works else ''}{by}{model} [{word(metric['signature'])}]"


def _intervals(results: Json) -> Iterator[str]:
    shares, others = _made_by("wilson", results), _made_by("bootstrap", results)
    draws = fmt.count(results["statistics"]["bootstrap_draws"])
    drawn = (
        f"a percentile bootstrap over the eval examples ({draws} resamples; "
        "percentiles expanded for the size of the sample)"
        + cite("efron1993bootstrap", "hesterberg2015bootstrap")
    )
    wilsons = f"Wilson's score method{cite('wilson1927')}"
    if shares and others:
        yield f"Intervals are 95%: for {listed(shares)} by {wilsons}, for all others by {drawn}."
    elif shares or others:
        yield f"Intervals are 95%, by {wilsons if shares else drawn}."
    if several := several_seeds(results):
        yield (
            f"A score of {listed(several)} is that of the statistics averaged over the seeds; its interval "
            "adds the variance between seeds to that between examples, each with its own quantile of "
            f"Student's t{cite('obuchowski1995')}."
        )


def _made_by(kind: str, results: Json) -> list[str]:
    """The labels of the metrics of which some score has an interval of this kind."""
    scores = [score for candidate in results["candidates"] for score in candidate["scores"].items()]
    made = {metric for metric, score in scores if score.get("interval") == kind}
    return [metric["label"] for metric in results["metrics"] if metric["name"] in made]


def _tests(results: Json) -> Iterator[str]:
    draws = fmt.count(results["statistics"]["sign_flips"])
    yield (
        "Two candidates are compared on the examples on which both have the metric: intervals of differences "
        f"are by the paired bootstrap{cite('koehn2004significance')}, p-values by paired approximate "
        f"randomisation ({draws} random sign flips, or all of them where they are fewer)"
        f"{cite('noreen1989', 'riezler2005pitfalls')}."
    )
    if several_seeds(results):
        yield (
            "Where a candidate has several seeds, interval and p-value of a difference also take the "
            "variance between seeds into account, and the larger of the two p-values counts."
        )
    yield (
        f"P-values are corrected by Holm's method{cite('holm1979')}, metric by metric: over the comparisons "
        f"with {word(results['candidates'][0]['name'])}, and, for the ranks, over all pairs; a difference "
        f"counts where the corrected p-value is below {fmt.number(results['statistics']['alpha'], 1)}."
    )


def several_seeds(results: Json) -> list[str]:
    """The candidates with several trials, whose intervals are over seeds too."""
    return [c["name"] for c in results["candidates"] if len(c["seeds"]) > 1]
