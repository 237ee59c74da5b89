"""Validates texts under schemas with the `jsonschema` package: json_schema_reference_test.cpp writes them.

Usage: json_schema_reference.py CASES.json, a list of {"schema": ..., "texts": [...]}. Prints what is not valid.
"""
import json
import sys

import jsonschema

failures = 0
with open(sys.argv[1], encoding="utf-8") as file:
    cases = json.load(file)
for case in cases:
    validator = jsonschema.Draft202012Validator(case["schema"])
    for text in case["texts"]:
        try:
            error = next((str(e.message) for e in validator.iter_errors(json.loads(text))), None)
        except ValueError as e:
            error = f"not JSON: {e}"
        if error is not None:
            failures += 1
            print(f"{json.dumps(case['schema'])} does not admit {text}: {error}", file=sys.stderr)
sys.exit(min(failures, 1))
