#!/usr/bin/env python3
"""Sluice beside llama.cpp on the same GGUF file, threads and machine.

    python3 -m venv venv && CMAKE_ARGS=-DGGML_NATIVE=ON venv/bin/pip install llama-cpp-python numpy
    python3 bench/compare_llama_cpp.py --llama_python venv/bin/python MODEL.gguf [MODEL.gguf ...]

Rounds of both engines alternate, llama.cpp with flash attention off and on; the table has medians, and llama.cpp's
better setting in each row. To compare a lesser instruction set give --isa, and a llama-cpp-python built for the same.
Cold start: Sluice's whole process against llama.cpp's loading and first token without the start of Python. Memory:
the peak of each process, less what Python takes before llama.cpp loads.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

# name, share of llama.cpp's rate (of its time or memory: at most) that is required, and what we aim at
GOALS = {
    "prefill 512": (2.5, 5.0),
    "decode": (1.5, 2.5),
    "decode at 512": (1.8, 3.0),
    "decode at 4096": (1.8, 3.0),
    "4 together": (2.5, 4.0),
    "16 together": (2.5, 4.0),
    "cold start, s": (0.7, 0.4),
    "peak memory, MB": (1.0, 0.8),
}
LESS_IS_BETTER = {"cold start, s", "peak memory, MB"}
PREFILL = 512
# test: sequences, context of each, tokens written
DECODES = {
    "decode": (1, 16, 64),
    "decode at 512": (1, 512, 32),
    "decode at 4096": (1, 4096, 16),
    "4 together": (4, 16, 32),
    "16 together": (16, 16, 16),
}


def rss_mb():
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class LlamaCpp:
    """One process of llama.cpp through its C API: python3 compare_llama_cpp.py --worker MODEL FLASH THREADS TESTS."""

    def __init__(self, path, flash, threads):
        import ctypes

        import llama_cpp
        import numpy
        self.lib, self.numpy, self.threads, self.flash = llama_cpp, numpy, threads, flash
        self.quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.random = numpy.random.default_rng(0)
        self.base_mb = rss_mb()
        self.start = time.perf_counter()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), params)
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))

    def context(self, tokens, sequences=1):
        params = self.lib.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.kv_unified = tokens, sequences, True
        params.n_batch, params.n_ubatch = max(tokens, 512), 512
        params.n_threads = params.n_threads_batch = self.threads
        params.flash_attn_type = 1 if self.flash else 0
        return self.lib.llama_init_from_model(self.model, params)

    def decode(self, context, positions, sequences):
        """One batch of random tokens; the logits of the last one of each sequence are read."""
        n = len(positions)
        batch = self.lib.llama_batch_init(n, 0, 1)
        batch.n_tokens = n
        tokens = self.random.integers(5, self.vocab - 300, n)
        for i in range(n):
            batch.token[i], batch.pos[i] = int(tokens[i]), positions[i]
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequences[i]
            batch.logits[i] = i + 1 == n or sequences[i + 1] != sequences[i]
        if self.lib.llama_decode(context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        self.lib.llama_get_logits(context)
        self.lib.llama_batch_free(batch)

    def prefill_rate(self, tokens):
        context = self.context(tokens)
        self.decode(context, [0], [0])  # warm up
        self.lib.llama_memory_clear(self.lib.llama_get_memory(context), True)
        start = time.perf_counter()
        self.decode(context, list(range(tokens)), [0] * tokens)
        seconds = time.perf_counter() - start
        self.lib.llama_free(context)
        return tokens / seconds

    def decode_rate(self, sequences, prompt, tokens):
        context = self.context((prompt + tokens) * sequences, sequences)
        for s in range(sequences):
            self.decode(context, list(range(prompt)), [s] * prompt)
        start = time.perf_counter()
        for i in range(tokens):
            self.decode(context, [prompt + i] * sequences, list(range(sequences)))
        seconds = time.perf_counter() - start
        self.lib.llama_free(context)
        return sequences * tokens / seconds


def worker(path, flash, threads, tests):
    engine = LlamaCpp(path, flash, threads)
    context = engine.context(1024)
    engine.decode(context, [0, 1, 2, 3], [0] * 4)
    out = {"cold start, s": time.perf_counter() - engine.start}
    out["peak memory, MB"] = rss_mb() - engine.base_mb
    engine.lib.llama_free(context)
    if "prefill 512" in tests:
        out["prefill 512"] = engine.prefill_rate(PREFILL)
    for test, shape in DECODES.items():
        if test in tests:
            out[test] = engine.decode_rate(*shape)
    print(json.dumps({test: out[test] for test in tests if test in out}))


def run_llama(o, path, flash, tests):
    command = [o.llama_python, os.path.abspath(__file__), "--worker", path, str(int(flash)), str(o.threads),
               json.dumps(tests)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def sluice(o, arguments):
    command = [o.sluice, *arguments, "--threads", str(o.threads), "--log_level", "error"]
    return command + (["--isa", o.isa] if o.isa else [])


def bench(o, path, arguments):
    command = sluice(o, ["bench", path, "--json", "--reps", "1", *arguments])
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def run_sluice(o, path, tests):
    out = {}
    if "cold start, s" in tests or "peak memory, MB" in tests:
        command = sluice(o, ["run", path, "--input_ids", "5,6,7,8", "--max_tokens", "1", "--max_seq_len", "1024",
                             "--max_num_seqs", "1", "--kv_tokens", "1024"])
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        usage = os.wait4(process.pid, 0)[2]
        out["cold start, s"] = time.perf_counter() - start
        out["peak memory, MB"] = usage.ru_maxrss / 1024
    if "prefill 512" in tests:
        out["prefill 512"] = bench(o, path, ["-p", str(PREFILL), "-n", "0"])["prefill"][0]["tok_s"]["median"]
    for test, (sequences, context, tokens) in DECODES.items():
        if test in tests:
            result = bench(o, path, ["-p", "0", "-n", str(tokens), "-b", str(sequences), "--context", str(context)])
            out[test] = result["decode"][0]["tok_s"]["median"]
    return {test: out[test] for test in tests}


def fitting(o, path, tests):
    """The tests whose contexts the model was made for."""
    inspected = subprocess.run([o.sluice, "inspect", path, "--json"], check=True, capture_output=True, text=True)
    limit = json.loads(inspected.stdout)["summary"]["max_positions"]
    return [t for t in tests if t not in DECODES or DECODES[t][1] + DECODES[t][2] < limit]


def compare(o, path, tests):
    rounds = {"sluice": [], "flash off": [], "flash on": []}
    for i in range(o.reps):
        rounds["sluice"].append(run_sluice(o, path, tests))
        rounds["flash off"].append(run_llama(o, path, False, tests))
        rounds["flash on"].append(run_llama(o, path, True, tests))
        print(f"{os.path.basename(path)}: round {i + 1} of {o.reps}", file=sys.stderr)
    rows = []
    for test in tests:
        median = {engine: statistics.median(r[test] for r in results) for engine, results in rounds.items()}
        better = min if test in LESS_IS_BETTER else max
        rows.append((test, median["sluice"], better(median["flash off"], median["flash on"])))
    return rows


def with_a_busy_core(o, path):
    """What is left of each engine's decode while another process keeps one core busy."""
    tests = ["decode"]
    shares = {"sluice": [], "llama.cpp": []}
    for _ in range(o.reps):
        alone = run_sluice(o, path, tests)["decode"], run_llama(o, path, False, tests)["decode"]
        burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            busy = run_sluice(o, path, tests)["decode"], run_llama(o, path, False, tests)["decode"]
        finally:
            burner.kill()
            burner.wait()
        shares["sluice"].append(busy[0] / alone[0])
        shares["llama.cpp"].append(busy[1] / alone[1])
    return {engine: statistics.median(s) for engine, s in shares.items()}


def table(rows):
    lines = ["| | Sluice | llama.cpp | ratio | required | aim |", "|---|---|---|---|---|---|"]
    for test, ours, theirs in rows:
        required, aim = GOALS[test]
        sign = "≤" if test in LESS_IS_BETTER else "≥"
        digits = 2 if test == "cold start, s" else 0
        unit = "" if test in LESS_IS_BETTER else ", tok/s"
        lines.append(f"| {test}{unit} | {ours:.{digits}f} | {theirs:.{digits}f} | {ours / theirs:.2f} | "
                     f"{sign} {required} | {aim} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--sluice", default="build/release/sluice", help="the binary [%(default)s]")
    parser.add_argument("--llama_python", default=sys.executable, help="a Python that has llama-cpp-python")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--reps", type=int, default=5, help="rounds [%(default)s]")
    parser.add_argument("--isa", help="Sluice's best instruction set: avx512, avx2, ...")
    parser.add_argument("--tests", nargs="+", choices=GOALS, default=list(GOALS), metavar="TEST")
    o = parser.parse_args()

    machine = subprocess.run(sluice(o, ["bench", "--machine"]), check=True, capture_output=True, text=True).stdout
    print(machine.strip())
    for path in o.models:
        print(f"\n{os.path.basename(path)}, {o.threads} threads, medians of {o.reps}\n")
        print(table(compare(o, path, fitting(o, path, o.tests))))
        if "decode" in o.tests:
            left = with_a_busy_core(o, path)
            print(f"\nDecode with one core kept busy by another process, relative to alone: Sluice "
                  f"{left['sluice']:.2f} (required 0.45), llama.cpp {left['llama.cpp']:.2f}")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--worker":
        worker(sys.argv[2], sys.argv[3] == "1", int(sys.argv[4]), json.loads(sys.argv[5]))
    else:
        main()
