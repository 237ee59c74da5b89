"""Renders templates with Python's jinja2 under the settings of transformers' apply_chat_template.

reference.py CASES.json OUT.json: reads an array of {"template": str, "variables": [object, ...]} and writes, for each
template, an array of {"text": str} or {"error": str}, one for each object. reference.py --record: renders the snippets beside this file into expected.json.
The clock stands still at 2026-07-04 15:09:26.
"""

import json
import os
import sys
import warnings
from datetime import datetime

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


class Namespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = datetime(2026, 7, 4, 15, 9, 26).strftime
    env.globals["namespace"] = Namespace
    return env


def outcome(action):
    try:
        return {"text": action()}
    except Exception as error:  # whatever goes wrong in a template is its outcome
        return {"error": f"{type(error).__name__}: {error}"}


def render(env, case):
    try:
        compiled = env.from_string(case["template"])
    except Exception as error:
        return [{"error": f"{type(error).__name__}: {error}"} for _ in case["variables"]]
    return [outcome(lambda: compiled.render(**variables).encode().decode()) for variables in case["variables"]]


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def snippets(folder):
    variables = load(os.path.join(folder, "variables.json"))
    with open(os.path.join(folder, "snippets.txt"), encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file]
    return [
        {"template": line.replace("\N{RETURN SYMBOL}", "\n"), "variables": [variables]}
        for line in lines
        if line and not line.startswith("# ")
    ]


def main():
    warnings.simplefilter("ignore")  # of Python's compiler about what templates do
    if sys.argv[1:] == ["--record"]:
        folder = os.path.dirname(os.path.abspath(__file__))
        cases, out = snippets(folder), os.path.join(folder, "expected.json")
    else:
        cases, out = load(sys.argv[1]), sys.argv[2]
    env = environment()
    with open(out, "w", encoding="utf-8") as file:
        json.dump([render(env, case) for case in cases], file, ensure_ascii=False, indent=0)
        file.write("\n")


if __name__ == "__main__":
    main()
