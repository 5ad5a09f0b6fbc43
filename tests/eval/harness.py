"""lm-evaluation-harness on local files and a model at hand, to compare with; no network is used."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.streams import split_pages


def harness_model(model: Any, vocabulary: Path, batch_size: int) -> Any:
    """The model as the harness drives it, with GPT-2's tokenizer made from its two files."""
    from lm_eval.models.huggingface import HFLM
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    byte_level = ByteLevelBPETokenizer(
        str(vocabulary / "encoder.json"), str(vocabulary / "vocab.bpe"), add_prefix_space=False
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level._tokenizer,
        eos_token="<|endoftext|>",
        bos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    )
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, device="cpu")


def lambada_task(folder: Path, passages: Sequence[str]) -> dict[str, Any]:
    """`lambada_openai` on `passages`: the settings of the harness, the data ours."""
    return {
        "task": "lambada_openai",
        "output_type": "loglikelihood",
        "doc_to_text": "{{text.split(' ')[:-1]|join(' ')}}",
        "doc_to_target": "{{' '+text.split(' ')[-1]}}",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
        **_data(folder / "lambada.jsonl", [{"text": passage} for passage in passages]),
    }


def wikitext_task(folder: Path, text: str) -> dict[str, Any]:
    """`wikitext` on the pages of `text`: the settings of the harness, the data ours."""
    from lm_eval.tasks.wikitext import preprocess_wikitext

    return {
        "task": "wikitext",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": preprocess_wikitext.wikitext_detokenizer,
        "process_results": preprocess_wikitext.process_results,
        "metric_list": [
            {"metric": "word_perplexity", "aggregation": "weighted_perplexity"},
            {"metric": "byte_perplexity", "aggregation": "weighted_perplexity"},
            {"metric": "bits_per_byte", "aggregation": "bits_per_byte"},
        ],
        **_data(folder / "pages.jsonl", [{"page": page} for page in split_pages(text)]),
    }


def harness_results(harness: Any, task: dict[str, Any]) -> dict[str, float]:
    """The harness's metrics of one task."""
    import lm_eval

    found = lm_eval.simple_evaluate(
        model=harness, tasks=[task], bootstrap_iters=0, verbosity="ERROR", log_samples=False
    )
    results: dict[str, float] = found["results"][task["task"]]
    return results


def _data(path: Path, rows: list[dict[str, str]]) -> dict[str, Any]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return {
        "dataset_path": "json",
        "test_split": "test",
        "dataset_kwargs": {"data_files": {"test": str(path)}, "cache_dir": str(path.parent)},
    }
