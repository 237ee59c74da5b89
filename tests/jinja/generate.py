"""Writes random templates: generate.py SEED COUNT VARIABLES.json CASES.json

Expressions are drawn from a grammar that favours operands of fitting types, so that most render, and leaves enough
misfits to compare errors too.
"""

import json
import random
import sys

ATOMS = {
    "str": ["'abc'", "''", "'Hello World'", "' pad '", "'a,b,,c'", "'héé😀'", "name", "user.name", "'12'", "'-3.5'", "'<b>&'"],
    "int": ["0", "1", "-1", "2", "7", "user.age", "true", "100"],
    "float": ["0.5", "-2.5", "1e3", "3.0", "user.score"],
    "list": ["[]", "[1, 2, 3]", "['b', 'A', 'c']", "user.tags", "[[1, 2], [3, 4]]", "[none, 1, 'x']", "pairs", "range(4)|list"],
    "dict": ["{}", "user.address", "{'a': 1, 'b': 2}", "{'k': [1], 2: 'two'}", "nested[0]"],
    "any": ["none", "missing", "user", "(1, 2)", "user.nick", "()"],
}

RULES = {
    "str": [
        "{str} + {str}", "{any} ~ {any}", "{str} * {int}", "{str}.upper()", "{str}.strip()", "{str}[{int}]",
        "name[{index}:{index}]", "user.name[::{index}]", "{str}.replace({str}, {str})", "{any}|string", "{list}|join({str})",
        "{any}|tojson", "{str}|title", "{str}|capitalize", "{str}|trim", "{str}.title()", "{str}.center({int})",
        "'%s:%r' % ({any}, {any})", "'%d' % {int}", "'%5.2f|' % {float}", "'{{}}-{{}}'.format({any}, {any})",
        "{str}|replace({str}, {str})", "{str}|indent({int})", "{str}|reverse", "{list}|first", "{str}.join({list})",
        "{str} if {bool} else {str}", "{str}|e", "{str}.lstrip({str})", "{str}|lower", "{str}|truncate(5)",
        "'{{:>8}}'.format({str})", "'{{:06.2f}}'.format({float})", "{str}.zfill(5)", "{str}.swapcase()",
        "{any}|tojson(indent=2)", "{dict}|tojson(sort_keys=true)", "{str}|safe",
    ],
    "int": [
        "{int} + {int}", "{int} - {int}", "{int} * {int}", "{int} // {int}", "{int} % {int}", "{str}|length",
        "{list}|length", "{str}|int", "{float}|int", "{str}.count({str})", "{str}.find({str})", "-{int}", "{list}|sum",
        "{int}|abs", "{int} ** 2", "{list}|max", "{dict}|length", "{str}|wordcount", "{int} and {int}", "{int} or {int}",
    ],
    "float": ["{int} / {int}", "{float} + {int}", "{float} * {float}", "{float} // {int}", "{float} % {float}",
              "{float}|round(1)", "{int}|float", "{str}|float", "{float} ** 2", "{float}|round"],
    "list": [
        "{list} + {list}", "{str}.split({str})", "{str}.split()", "user.tags[{index}:]", "pairs[::-1]", "{list}|sort",
        "{list}|map('string')|list", "{list}|reverse|list", "{list}|unique|list", "{dict}|items|list", "{str}|list",
        "{list}|select|list", "{list}|reject('none')|list", "[{any}, {any}]", "{dict}.keys()|list", "{dict}.values()|list",
        "{list} * {int}", "{dict}|dictsort", "{list}|batch(2)|list", "{list}|select('string')|list", "{str}.partition({str})",
        "{str}.splitlines()", "people|map(attribute={str})|list", "{list}|slice(2)|list", "{list}|map('upper')|list",
    ],
    "dict": ["{{'x': {any}, {str}: {any}}}", "dict({dict}, z={any})", "{dict}.copy()", "namespace(q={any}).q"],
    "bool": [
        "{int} < {int}", "{any} == {any}", "{str} in {str}", "{any} in {list}", "{str} in {dict}", "not {any}",
        "{any} is defined", "{any} is string", "{any} is mapping", "{any} is iterable", "{any} is sequence", "{any} is none",
        "{int} is odd", "{str}.startswith({str})", "{bool} and {bool}", "{bool} or {bool}", "{int} <= {float} < {int}",
        "{any} != {any}", "{str} < {str}", "{any} not in {list}", "{list} == {list}", "{any} is number", "{str}.isalpha()",
        "{list} < {list}", "{any} is true", "{str} is lower", "{any} is in {list}", "{str}.endswith({str})",
    ],
    "any": ["{str}", "{int}", "{float}", "{list}", "{dict}", "{bool}", "{dict}.get({str})", "{dict}[{str}]", "{list}[{int}]",
            "{any}|default({any})", "{any} if {bool}", "{list}|last", "{any} and {any}", "{any} or {any}", "{any}.x",
            "{any}|default({any}, true)", "{list}|min", "{any}|first", "{any}[{any}]", "{any} + {any}", "{any}|list"],
}

STATEMENTS = [
    "{{{{ {any} }}}}", "{{{{ {str} }}}}\n", "{{{{- {int} }}}}", "{{% if {bool} %}}\n{body}\n{{% else %}}{body}{{% endif %}}",
    "{{% for x in {list} %}}{{{{ x }}}}{{{{ loop.index }}}}{{{{ ',' if not loop.last }}}}{body}{{% endfor %}}\n",
    "  {{%- set v = {any} -%}}  {{{{ v }}}}", "{{% set ns = namespace(n={int}) %}}{{% for x in {list} %}}{{% set ns.n = ns.n + 1 %}}{{% endfor %}}{{{{ ns.n }}}}",
    "{{% macro m(a, b={any}) %}}{{{{ a }}}}|{{{{ b }}}}{body}{{% endmacro %}}{{{{ m({any}) }}}}",
    "{{% set t %}}{body}{{% endset %}}[{{{{ t|trim }}}}]", "{{% filter upper %}}{body}{{% endfilter %}}",
    "{{% for k, v in {dict}|items %}}{{{{ k }}}}={{{{ v }}}};{{% else %}}empty{{% endfor %}}",
    "{{% with w = {any} %}}{{{{ w }}}}{{% endwith %}}", "text {{# note #}}\n  {{% if {any} %}}yes{{% endif +%}}\n",
]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def expression(self, kind, depth):
        if kind == "any" and self.random.random() < 0.6:
            kind = self.random.choice(["str", "int", "float", "list", "dict"])
        if kind == "index":  # jinja2 forgives a slice by strings if all of it is constant: not worth imitating
            return str(self.random.randint(-3, 3) or 1)
        if self.random.random() < 0.05:
            kind = self.random.choice(list(RULES))  # a misfit
        if kind == "bool" and depth <= 0:
            return self.random.choice(["true", "false", "missing"])
        if depth <= 0 or self.random.random() < 0.25 and kind in ATOMS:
            return self.random.choice(ATOMS[kind])
        return "(" + self.fill(self.random.choice(RULES[kind]), depth - 1) + ")"

    def fill(self, pattern, depth):
        out, rest = "", pattern
        while rest:
            if rest.startswith("{{") or rest.startswith("}}"):
                out, rest = out + rest[0], rest[2:]
            elif rest[0] == "{":
                kind, rest = rest[1:].split("}", 1)
                out += self.template(depth) if kind == "body" else self.expression(kind, depth)
            else:
                out, rest = out + rest[0], rest[1:]
        return out

    def template(self, depth):
        if depth <= 0:
            return "{{ " + self.expression("any", 1) + " }}"
        return "".join(self.fill(self.random.choice(STATEMENTS), depth - 1) for _ in range(self.random.randint(1, 2)))


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    with open(sys.argv[3], encoding="utf-8") as file:
        variables = json.load(file)
    generator = Generator(seed)
    with open(sys.argv[4], "w", encoding="utf-8") as file:
        json.dump([{"template": generator.template(4), "variables": [variables]} for _ in range(count)], file)


if __name__ == "__main__":
    main()
