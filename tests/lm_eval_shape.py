"""Asks a server for log-likelihoods in the way that lm-eval does and compares them with reference logits.

Usage: lm_eval_shape.py URL FIXTURE. Completions of token ids with echo, logprobs=1 and max_tokens 0 or 1; the sum over
a continuation and whether greedy decoding gives it must follow from FIXTURE/reference.safetensors, to 1e-3.
"""
import array
import json
import math
import struct
import sys
import urllib.request

TOLERANCE = 1e-3


def read_reference(path):
    """Prompts as lists of ids, and for each its rows of logits."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()

    def values(name, kind):
        begin, end = header[name]["data_offsets"]
        return array.array(kind, data[begin:end])

    prompts = []
    while f"prompt_{len(prompts)}.input_ids" in header:
        name = f"prompt_{len(prompts)}"
        flat, (rows, vocab) = values(f"{name}.logits", "f"), header[f"{name}.logits"]["shape"]
        prompts.append((list(values(f"{name}.input_ids", "i")), [flat[r * vocab:(r + 1) * vocab] for r in range(rows)]))
    return prompts


def logprobs_of(row):
    top = max(row)
    norm = top + math.log(sum(math.exp(x - top) for x in row))
    return [x - norm for x in row]


def post(url, body):
    request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def likelihood(choice, context, length):
    """As lm-eval's parse_logprobs: the sum over the continuation, and whether each of its tokens is the likeliest."""
    logprobs = choice["logprobs"]
    chosen = logprobs["token_logprobs"][context:length]
    greedy = all(
        token == max(top, key=top.get)
        for token, top in zip(logprobs["tokens"][context:length], logprobs["top_logprobs"][context:length])
    )
    return sum(chosen), greedy


def main():
    url, fixture = sys.argv[1:]
    prompts = [p for p in read_reference(f"{fixture}/reference.safetensors") if len(p[0]) > 2]
    worst, compared = 0.0, 0
    for max_tokens in (0, 1):
        body = {"prompt": [ids for ids, _ in prompts], "echo": True, "logprobs": 1, "max_tokens": max_tokens,
                "temperature": 0, "seed": 1234}
        choices = post(url, body)["choices"]
        assert [c["index"] for c in choices] == list(range(len(prompts))), "choices come in the order of prompts"
        for (ids, rows), choice in zip(prompts, choices):
            assert len(choice["logprobs"]["tokens"]) == len(ids) + max_tokens
            for context in (1, len(ids) // 2, len(ids) - 1):
                got, greedy = likelihood(choice, context, len(ids))
                want = [logprobs_of(rows[i - 1])[ids[i]] for i in range(context, len(ids))]
                best = all(rows[i - 1][ids[i]] == max(rows[i - 1]) for i in range(context, len(ids)))
                worst = max(worst, abs(got - sum(want)))
                compared += 1
                assert abs(got - sum(want)) <= TOLERANCE, f"{got} where the reference has {sum(want)}"
                assert greedy == best, f"greedy is {greedy} where the reference has {best}"
    print(f"{compared} log-likelihoods, at most {worst:.1e} away")


main()
