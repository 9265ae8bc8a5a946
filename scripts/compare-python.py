"""The usual Python way to write history by remote write: prometheus_client keeps the
values, protobuf makes a request of what it collects, snappy compresses it, requests
sends it. Run by scripts/compare-python, which says what it is compared with.

Arguments: where the samples are read from, where they are written to, how many days,
and how many seconds dorainfra took for making and writing the same samples.
"""

import sys
import time
from collections import defaultdict

import cramjam
import requests
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

FIELD = descriptor_pb2.FieldDescriptorProto


def write_request():
    """`prometheus.WriteRequest`, as prometheus/prompb/remote.proto has it."""
    file = descriptor_pb2.FileDescriptorProto(name="remote.proto", package="prometheus", syntax="proto3")

    def message(name, *fields):
        kind = file.message_type.add(name=name)
        for number, (field, of, repeated) in enumerate(fields, 1):
            added = kind.field.add(name=field, number=number)
            added.label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
            if isinstance(of, str):
                added.type, added.type_name = FIELD.TYPE_MESSAGE, f".prometheus.{of}"
            else:
                added.type = of

    message("Label", ("name", FIELD.TYPE_STRING, False), ("value", FIELD.TYPE_STRING, False))
    message("Sample", ("value", FIELD.TYPE_DOUBLE, False), ("timestamp", FIELD.TYPE_INT64, False))
    message("TimeSeries", ("labels", "Label", True), ("samples", "Sample", True))
    message("WriteRequest", ("timeseries", "TimeSeries", True))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))


REQUEST = write_request()
HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def query(address, expression):
    answer = requests.post(f"{address}/api/v1/query", data={"query": expression}, timeout=600)
    answer.raise_for_status()
    return answer.json()["data"]["result"]


def stored(address, names, days):
    """Samples of these metrics at `address`, counted there."""
    counts = (query(address, f'sum(count_over_time({name}{{job="dora"}}[{days + 30}d]))') for name in names)
    return sum(int(float(count[0]["value"][1])) for count in counts if count)


class Day:
    """What prometheus_client collects at the end of one day."""

    def __init__(self):
        self.samples = []

    def collect(self):
        families = {}
        for labels, value, at in self.samples:
            name = labels["__name__"]
            family = families.get(name)
            if family is None:
                family = families[name] = Metric(name, name, "untyped")
            family.add_sample(name, {key: of for key, of in labels.items() if key != "__name__"}, value, at)
        return families.values()


def main():
    source, target, days, ours = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    by_time, names = defaultdict(list), set()
    for series in query(source, f'{{job="dora"}}[{days + 30}d]'):
        names.add(series["metric"]["__name__"])
        for at, value in series["values"]:
            by_time[at].append((series["metric"], float(value), at))
    total = sum(len(samples) for samples in by_time.values())

    # From here on: what a script has to do whose values are in memory.
    day, registry, session = Day(), CollectorRegistry(), requests.Session()
    registry.register(day)
    began = time.perf_counter()
    for at in sorted(by_time):
        day.samples = by_time[at]
        request = REQUEST()
        for family in registry.collect():
            for sample in family.samples:
                series = request.timeseries.add()
                series.labels.add(name="__name__", value=sample.name)
                for name in sorted(sample.labels):
                    series.labels.add(name=name, value=sample.labels[name])
                series.samples.add(value=sample.value, timestamp=round(sample.timestamp * 1000))
        body = bytes(cramjam.snappy.compress_raw(request.SerializeToString()))
        session.post(f"{target}/api/v1/write", data=body, headers=HEADERS, timeout=60).raise_for_status()
    theirs = time.perf_counter() - began

    counts = stored(source, names, days), stored(target, names, days)
    if counts != (total, total):
        sys.exit(f"not the same samples: {total} read, {counts[0]} and {counts[1]} stored")
    print(f"{total:,} samples, the same in both Prometheis")
    print(f"dorainfra, making them included: {ours:6.2f} s  {total / ours:12,.0f} samples/s")
    print(f"Python, values in memory:        {theirs:6.2f} s  {total / theirs:12,.0f} samples/s")
    print(f"factor: {theirs / ours:.1f}")


main()
