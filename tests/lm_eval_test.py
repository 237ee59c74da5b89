"""lm-eval's client for completions against a server, and its own runs of transformers: log-likelihoods must agree.

Usage: lm_eval_test.py URL MODEL FOLDER. MODEL is a checkpoint of at least 259 token ids without a tokenizer; FOLDER takes a
tokenizer that is written for it. src/tools/verb_serve_test.cpp starts the server.
"""
import random
import sys

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.openai_completions import LocalCompletionsAPI
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TOLERANCE = 1e-3


def write_tokenizer(folder):
    """A byte is a token; the first three ids are special."""
    special = ["<pad>", "<s>", "</s>"]
    tokens = special + sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(folder)
    return fast


def likelihoods(model, texts):
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(texts)]
    return model.loglikelihood(requests, disable_tqdm=True)


def rolling(model, texts):
    requests = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(texts)]
    return model.loglikelihood_rolling(requests, disable_tqdm=True)


def main():
    url, checkpoint, folder = sys.argv[1:]
    tokenizer = write_tokenizer(folder)
    reference = HFLM(pretrained=checkpoint, tokenizer=tokenizer, device="cpu", dtype="float32", max_length=200, batch_size=4)
    draw = random.Random(1)
    text = lambda least: "".join(chr(draw.randrange(32, 600)) for _ in range(draw.randrange(least, 40)))
    pairs = [(text(1), text(1)) for _ in range(40)]
    greedy = "the prefix"  # continued by what the model finds most likely
    pairs.append((greedy, reference.generate_until([Instance("generate_until", {}, (greedy, {"until": [], "max_gen_toks": 1}), 0)],
                                                   disable_tqdm=True)[0] or "x"))
    worst = 0.0
    for batch_size, concurrent in ((1, 1), (4, 1), (1, 4)):
        # Of its max_length lm-eval keeps one token for an answer and one for the context: windows of 200 either way.
        served = LocalCompletionsAPI(base_url=url + "/v1/completions", model="any", tokenizer=folder, max_length=202,
                                     batch_size=batch_size, num_concurrent=concurrent)
        got, want = likelihoods(served, pairs), likelihoods(reference, pairs)
        for (a, a_greedy), (b, b_greedy), pair in zip(got, want, pairs):
            worst = max(worst, abs(a - b))
            assert abs(a - b) <= TOLERANCE, f"{a} where transformers has {b}: {pair}"
            assert a_greedy == b_greedy, f"greedy is {a_greedy} where transformers has {b_greedy}: {pair}"
        long = [text(20) * 10]  # in windows
        (a,), (b,) = rolling(served, long), rolling(reference, long)
        assert abs(a - b) <= TOLERANCE * 10, f"{a} where transformers has {b} in windows"
    print(f"{3 * len(pairs)} log-likelihoods, at most {worst:.1e} away")


main()
