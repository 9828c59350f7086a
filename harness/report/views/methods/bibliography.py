"""The works that a methods paragraph can cite, as BibTeX and as a list of references.

Titles hold braces where BibTeX has to keep the case; plain text drops them. A key is unique, and so is what
a text calls a work, once two of the same authors and year have a letter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ACL = "Association for Computational Linguistics"
NEURIPS = "Advances in Neural Information Processing Systems"
ICLR = "International Conference on Learning Representations"


@dataclass(frozen=True)
class Work:
    """A publication: `authors` as `Last, First`, and the other fields of its BibTeX entry in their order."""

    kind: str
    authors: tuple[str, ...]
    title: str
    year: str
    fields: Mapping[str, str]

    @property
    def called(self) -> str:
        """`Hu et al., 2022`, without the letter that tells two alike apart."""
        last = [_plain(author).partition(",")[0] for author in self.authors]
        names = last[0] if len(last) == 1 else " and ".join(last) if len(last) == 2 else f"{last[0]} et al."
        return f"{names}, {self.year}"

    def reference(self, letter: str) -> str:
        """A line of a list of references."""
        where = [text for key, text in self.fields.items() if key not in ("pages", "volume", "number", "url")]
        volume, number = self.fields.get("volume", ""), self.fields.get("number", "")
        if volume:
            where.append(f"{volume}({number})" if number else volume)
        if pages := self.fields.get("pages"):
            where.append(f"pages {pages}" if "booktitle" in self.fields else pages)
        where += [self.fields["url"]] if "url" in self.fields else []
        authors = _listed(self.authors).rstrip(".")
        return _plain(f"{authors}. {self.year}{letter}. {self.title}. {', '.join(where)}.")

    def bibtex(self, key: str) -> str:
        """The entry, one field a line."""
        fields = {"author": " and ".join(self.authors), "title": self.title, "year": self.year, **self.fields}
        body = ",\n".join(f"  {name} = {{{_tex(text, name)}}}" for name, text in fields.items())
        return f"@{self.kind}{{{key},\n{body}\n}}"


def _plain(text: str) -> str:
    return text.replace("{", "").replace("}", "")


def _tex(text: str, name: str) -> str:
    return text if name == "url" else text.replace("–", "--").replace("&", "\\&")


def _listed(authors: Sequence[str]) -> str:
    if len(authors) == 1:
        return authors[0]
    return f"{'; '.join(authors[:-1])} and {authors[-1]}" if len(authors) <= 8 else f"{authors[0]} et al."


def letters(keys: Iterable[str]) -> dict[str, str]:
    """Key -> the letter after its year; empty where no other of the keys is called the same."""
    known = sorted(keys)
    often = Counter(WORKS[key].called for key in known)
    seen: Counter[str] = Counter()
    found = {}
    for key in known:
        name = WORKS[key].called
        found[key] = "abcdefgh"[seen[name]] if often[name] > 1 else ""
        seen[name] += 1
    return found


def _paper(authors: str, title: str, year: int, booktitle: str, **fields: str) -> Work:
    return Work("inproceedings", _names(authors), title, str(year), {"booktitle": booktitle, **fields})


def _article(authors: str, title: str, year: int, journal: str, **fields: str) -> Work:
    return Work("article", _names(authors), title, str(year), {"journal": journal, **fields})


def _book(authors: str, title: str, year: int, publisher: str) -> Work:
    return Work("book", _names(authors), title, str(year), {"publisher": publisher})


def _software(authors: str, title: str, year: int, url: str) -> Work:
    return Work("misc", _names(authors), title, str(year), {"url": url})


def _names(authors: str) -> tuple[str, ...]:
    return tuple(authors.split("; "))


WORKS: Mapping[str, Work] = {
    # How candidates are trained.
    "hu2022lora": _paper(
        "Hu, Edward J.; Shen, Yelong; Wallis, Phillip; Allen-Zhu, Zeyuan; Li, Yuanzhi; Wang, Shean; "
        "Wang, Lu; Chen, Weizhu",
        "{LoRA}: Low-Rank Adaptation of Large Language Models", 2022, ICLR,
    ),
    "dettmers2023qlora": _paper(
        "Dettmers, Tim; Pagnoni, Artidoro; Holtzman, Ari; Zettlemoyer, Luke",
        "{QLoRA}: Efficient Finetuning of Quantized {LLMs}", 2023, NEURIPS, volume="36",
    ),
    "dettmers2022llmint8": _paper(
        "Dettmers, Tim; Lewis, Mike; Belkada, Younes; Zettlemoyer, Luke",
        "{LLM.int8()}: 8-bit Matrix Multiplication for Transformers at Scale", 2022, NEURIPS, volume="35",
    ),
    "liu2024dora": _paper(
        "Liu, Shih-Yang; Wang, Chien-Yi; Yin, Hongxu; Molchanov, Pavlo; Wang, Yu-Chiang Frank; "
        "Cheng, Kwang-Ting; Chen, Min-Hung",
        "{DoRA}: Weight-Decomposed Low-Rank Adaptation", 2024, "International Conference on Machine Learning",
    ),
    "kalajdzievski2023rslora": _article(
        "Kalajdzievski, Damjan",
        "A Rank Stabilization Scaling Factor for Fine-Tuning with {LoRA}", 2023,
        "arXiv preprint arXiv:2312.03732",
    ),
    "meng2024pissa": _paper(
        "Meng, Fanxu; Wang, Zhaohui; Zhang, Muhan",
        "{PiSSA}: Principal Singular Values and Singular Vectors Adaptation of Large Language Models", 2024,
        NEURIPS, volume="37",
    ),
    "liu2022ia3": _paper(
        "Liu, Haokun; Tam, Derek; Muqeeth, Mohammed; Mohta, Jay; Huang, Tenghao; Bansal, Mohit; "
        "Raffel, Colin",
        "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", 2022,
        NEURIPS, volume="35", pages="1950–1965",
    ),
    "lester2021prompt": _paper(
        "Lester, Brian; Al-Rfou, Rami; Constant, Noah",
        "The Power of Scale for Parameter-Efficient Prompt Tuning", 2021,
        "Proceedings of the 2021 Conference on Empirical Methods in Natural Language Processing",
        publisher=ACL, pages="3045–3059",
    ),
    "jain2024neftune": _paper(
        "Jain, Neel; Chiang, Ping-yeh; Wen, Yuxin; Kirchenbauer, John; Chu, Hong-Min; Somepalli, Gowthami; "
        "Bartoldson, Brian R.; Kailkhura, Bhavya; Schwarzschild, Avi; Saha, Aniruddha; Goldblum, Micah; "
        "Geiping, Jonas; Goldstein, Tom",
        "{NEFTune}: Noisy Embeddings Improve Instruction Finetuning", 2024, ICLR,
    ),
    "loshchilov2019adamw": _paper(
        "Loshchilov, Ilya; Hutter, Frank", "Decoupled Weight Decay Regularization", 2019, ICLR,
    ),
    # What they are trained with.
    "wolf2020transformers": _paper(
        "Wolf, Thomas; Debut, Lysandre; Sanh, Victor; Chaumond, Julien; Delangue, Clement; Moi, Anthony; "
        "Cistac, Pierric; Rault, Tim; Louf, Rémi; Funtowicz, Morgan; Davison, Joe; Shleifer, Sam; "
        "von Platen, Patrick; Ma, Clara; Jernite, Yacine; Plu, Julien; Xu, Canwen; Le Scao, Teven; "
        "Gugger, Sylvain; Drame, Mariama; Lhoest, Quentin; Rush, Alexander M.",
        "Transformers: State-of-the-Art Natural Language Processing", 2020,
        "Proceedings of the 2020 Conference on Empirical Methods in Natural Language Processing: System "
        "Demonstrations",
        publisher=ACL, pages="38–45",
    ),
    "paszke2019pytorch": _paper(
        "Paszke, Adam; Gross, Sam; Massa, Francisco; Lerer, Adam; Bradbury, James; Chanan, Gregory; "
        "Killeen, Trevor; Lin, Zeming; Gimelshein, Natalia; Antiga, Luca; Desmaison, Alban; Köpf, Andreas; "
        "Yang, Edward; DeVito, Zachary; Raison, Martin; Tejani, Alykhan; Chilamkurthy, Sasank; "
        "Steiner, Benoit; Fang, Lu; Bai, Junjie; Chintala, Soumith",
        "{PyTorch}: An Imperative Style, High-Performance Deep Learning Library", 2019, NEURIPS, volume="32",
    ),
    "mangrulkar2022peft": _software(
        "Mangrulkar, Sourab; Gugger, Sylvain; Debut, Lysandre; Belkada, Younes; Paul, Sayak; "
        "Bossan, Benjamin",
        "{PEFT}: State-of-the-art Parameter-Efficient Fine-Tuning methods", 2022,
        "https://github.com/huggingface/peft",
    ),
    "vonwerra2020trl": _software(
        "von Werra, Leandro; Belkada, Younes; Tunstall, Lewis; Beeching, Edward; Thrush, Tristan; "
        "Lambert, Nathan; Huang, Shengyi",
        "{TRL}: Transformer Reinforcement Learning", 2020, "https://github.com/huggingface/trl",
    ),
    "han2023unsloth": _software(
        "Han, Daniel; Han, Michael; {Unsloth team}",
        "Unsloth", 2023, "https://github.com/unslothai/unsloth",
    ),
    "zheng2024llamafactory": _paper(
        "Zheng, Yaowei; Zhang, Richong; Zhang, Junhao; Ye, Yanhan; Luo, Zheyan; Feng, Zhangchi; "
        "Ma, Yongqiang",
        "{LlamaFactory}: Unified Efficient Fine-Tuning of 100+ Language Models", 2024,
        "Proceedings of the 62nd Annual Meeting of the Association for Computational Linguistics (Volume 3: "
        "System Demonstrations)",
        publisher=ACL,
    ),
    # What is measured.
    "papineni2002bleu": _paper(
        "Papineni, Kishore; Roukos, Salim; Ward, Todd; Zhu, Wei-Jing",
        "{Bleu}: a Method for Automatic Evaluation of Machine Translation", 2002,
        "Proceedings of the 40th Annual Meeting of the Association for Computational Linguistics",
        publisher=ACL, pages="311–318",
    ),
    "post2018sacrebleu": _paper(
        "Post, Matt", "A Call for Clarity in Reporting {BLEU} Scores", 2018,
        "Proceedings of the Third Conference on Machine Translation: Research Papers",
        publisher=ACL, pages="186–191",
    ),
    "popovic2015chrf": _paper(
        "Popović, Maja", "{chrF}: character n-gram {F}-score for automatic {MT} evaluation", 2015,
        "Proceedings of the Tenth Workshop on Statistical Machine Translation",
        publisher=ACL, pages="392–395",
    ),
    "popovic2017chrf": _paper(
        "Popović, Maja", "{chrF++}: words helping character n-grams", 2017,
        "Proceedings of the Second Conference on Machine Translation", publisher=ACL, pages="612–618",
    ),
    "lin2004rouge": _paper(
        "Lin, Chin-Yew", "{ROUGE}: A Package for Automatic Evaluation of Summaries", 2004,
        "Text Summarization Branches Out", publisher=ACL, pages="74–81",
    ),
    "zheng2023judge": _paper(
        "Zheng, Lianmin; Chiang, Wei-Lin; Sheng, Ying; Zhuang, Siyuan; Wu, Zhanghao; Zhuang, Yonghao; "
        "Lin, Zi; Li, Zhuohan; Li, Dacheng; Xing, Eric P.; Zhang, Hao; Gonzalez, Joseph E.; Stoica, Ion",
        "Judging {LLM}-as-a-Judge with {MT-Bench} and {Chatbot Arena}", 2023, NEURIPS, volume="36",
    ),
    # What is concluded.
    "efron1993bootstrap": _book(
        "Efron, Bradley; Tibshirani, Robert J.", "An Introduction to the Bootstrap", 1993, "Chapman & Hall",
    ),
    "hesterberg2015bootstrap": _article(
        "Hesterberg, Tim C.",
        "What Teachers Should Know About the Bootstrap: Resampling in the Undergraduate Statistics "
        "Curriculum", 2015, "The American Statistician", volume="69", number="4", pages="371–386",
    ),
    "koehn2004significance": _paper(
        "Koehn, Philipp", "Statistical Significance Tests for Machine Translation Evaluation", 2004,
        "Proceedings of the 2004 Conference on Empirical Methods in Natural Language Processing",
        publisher=ACL, pages="388–395",
    ),
    "noreen1989": _book(
        "Noreen, Eric W.", "Computer-Intensive Methods for Testing Hypotheses: An Introduction", 1989,
        "John Wiley & Sons",
    ),
    "riezler2005pitfalls": _paper(
        "Riezler, Stefan; Maxwell, John T.",
        "On Some Pitfalls in Automatic Evaluation and Significance Testing for {MT}", 2005,
        "Proceedings of the ACL Workshop on Intrinsic and Extrinsic Evaluation Measures for Machine "
        "Translation and/or Summarization",
        publisher=ACL, pages="57–64",
    ),
    "holm1979": _article(
        "Holm, Sture", "A Simple Sequentially Rejective Multiple Test Procedure", 1979,
        "Scandinavian Journal of Statistics", volume="6", number="2", pages="65–70",
    ),
    "wilson1927": _article(
        "Wilson, Edwin B.", "Probable Inference, the Law of Succession, and Statistical Inference", 1927,
        "Journal of the American Statistical Association", volume="22", number="158", pages="209–212",
    ),
    "kish1965": _book("Kish, Leslie", "Survey Sampling", 1965, "John Wiley & Sons"),
    "obuchowski1995": _article(
        "Obuchowski, Nancy A.; Rockette, Howard E.",
        "Hypothesis Testing of Diagnostic Accuracy for Multiple Readers and Multiple Tests: An {ANOVA} "
        "Approach with Dependent Observations", 1995,
        "Communications in Statistics – Simulation and Computation", volume="24", number="2",
        pages="285–308",
    ),
    "bradley1952": _article(
        "Bradley, Ralph Allan; Terry, Milton E.",
        "Rank Analysis of Incomplete Block Designs: {I}. The Method of Paired Comparisons", 1952,
        "Biometrika", volume="39", number="3/4", pages="324–345",
    ),
    "cohen1960kappa": _article(
        "Cohen, Jacob", "A Coefficient of Agreement for Nominal Scales", 1960,
        "Educational and Psychological Measurement", volume="20", number="1", pages="37–46",
    ),
    "krippendorff2011": Work(
        "misc", ("Krippendorff, Klaus",), "Computing {Krippendorff's} Alpha-Reliability", "2011",
        {"howpublished": "Departmental Papers (ASC), University of Pennsylvania"},
    ),
    "fleiss1971": _article(
        "Fleiss, Joseph L.", "Measuring Nominal Scale Agreement Among Many Raters", 1971,
        "Psychological Bulletin", volume="76", number="5", pages="378–382",
    ),
}  # fmt: skip
