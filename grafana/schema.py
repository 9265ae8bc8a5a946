"""Whether dashboards are of Grafana's published schema.

Grafana's types (PyPI: grafana-foundation-sdk, generated from its schemas) read
each file and write it again. A field that they do not know is lost on the way;
one that is missing, or of another type, fails while it is read.
"""

import json
import sys

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

# Read by Grafana's Prometheus data source, and in no schema: the step of an
# annotation's query.
BEYOND = {f".annotations.list[{index}].step" for index in range(2)}


def lost(before, after, path=""):
    """The places of what is in `before` and not the same in `after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            if name not in after:
                # An absent field means the same as null.
                if value is not None:
                    yield f"{path}.{name}"
            else:
                yield from lost(value, after[name], f"{path}.{name}")
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{path}: {len(before)} became {len(after)}"
        for index, (one, other) in enumerate(zip(before, after)):
            yield from lost(one, other, f"{path}[{index}]")
    elif before != after:
        yield f"{path}: {before!r} became {after!r}"


def main(files):
    plugins.register_default_plugins()
    failed = False
    for file in files:
        with open(file, encoding="utf-8") as stream:
            before = json.load(stream)
        after = json.loads(JSONEncoder().encode(Dashboard.from_json(before)))
        problems = sorted(set(lost(before, after)) - BEYOND)
        for problem in problems:
            print(f"{file}: {problem}")
        failed = failed or bool(problems)
        if not problems:
            print(f"{file} is of the schema")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
