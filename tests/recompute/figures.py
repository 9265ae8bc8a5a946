"""Recomputes DORA's figures from a file of events and compares them with what an endpoint
answers to the queries of docs/metrics.md, and with `dorainfra report`.

Written from docs/events.md and docs/metrics.md alone: it shares nothing with the program.

    figures.py EVENTS URL UNTIL DAYS[,DAYS…] QUERIES [REPORT…]

EVENTS: JSON lines. UNTIL: the last day, YYYY-MM-DD. DAYS: lengths of ranges, which may be
FIRST-LAST or FIRST-LAST/STEP. QUERIES: docs/metrics.md. REPORT: a command that prints the
report as JSON, given `--range Nd`, for each range of at most 450 days. Days are those of the
time zone in the variable ZONE, UTC without.
"""

import bisect
import json
import os
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

DAY = 86400
LEAD = [3600, 14400, 43200, DAY, 2 * DAY, 4 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 60 * DAY]
RECOVERY = [300, 900, 1800, 3600, 14400, 43200, DAY, 3 * DAY, 7 * DAY, 30 * DAY]


def seconds(text):
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.timestamp()


class Events:
    def __init__(self, path):
        change, deployment, failure, recovery = {}, {}, {}, {}
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                event = json.loads(line)
                kind = event["type"]
                if kind == "change":
                    change[event["id"]] = event
                elif kind == "deployment":
                    deployment[event["id"]] = event
                elif kind == "failure":
                    failure[event["id"]] = event
                elif kind == "recovery":
                    recovery[event["failure"]] = event
                else:
                    raise SystemExit(f"an event of the type {kind}")
        # A failure is its deployment's when it began within three days of it.
        failed = set()
        counted = []
        for one in failure.values():
            cause = deployment.get(one.get("deployment"))
            if cause is None:
                continue
            after = seconds(one["at"]) - seconds(cause["at"])
            if 0 <= after <= 3 * DAY:
                failed.add(cause["id"])
                counted.append((one, cause))
        self.teams = sorted({one["team"] for one in deployment.values()})
        self.deployments = [
            (seconds(one["at"]), one["team"], one["id"] in failed, one.get("kind") == "rework", one["service"])
            for one in deployment.values()
            if one.get("environment", "production") == "production"
        ]
        self.leads, self.recoveries = [], []
        for one in deployment.values():
            if one.get("environment", "production") != "production":
                continue
            for each in one.get("changes", ()):
                if each in change:
                    lead = max(0.0, seconds(one["at"]) - seconds(change[each]["at"]))
                    self.leads.append((seconds(one["at"]), one["team"], lead, None, one["service"]))
        for one, cause in counted:
            end = recovery.get(one["id"])
            if end is not None and cause.get("environment", "production") == "production":
                took = max(0.0, seconds(end["at"]) - seconds(one["at"]))
                self.recoveries.append((seconds(end["at"]), cause["team"], took, None, cause["service"]))
        self.services = sorted({(one["team"], one["service"]) for one in deployment.values()})


def quantile(edges, values):
    """The median as buckets tell it; the last edge for what lies beyond."""
    if not values:
        return None
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[bisect.bisect_left(edges, value)] += 1
    rank = len(values) / 2
    below = 0
    for index, count in enumerate(counts):
        if below + count >= rank and count:
            if index == len(edges):
                return edges[-1]
            low = edges[index - 1] if index else 0
            return low + (edges[index] - low) * (rank - below) / count
        below += count
    raise AssertionError("no bucket has the rank")


def figures(events, team, begin, end, days, service=None):
    """What the definitions say of the events after `begin`, until `end`."""

    def within(rows):
        mine = [row for row in rows if begin < row[0] <= end and team in (None, row[1])]
        return [row for row in mine if service in (None, row[4])]

    deployments = within(events.deployments)
    leads = [row[2] for row in within(events.leads)]
    recoveries = [row[2] for row in within(events.recoveries)]
    count = len(deployments)
    failed = sum(row[2] for row in deployments)
    rework = sum(row[3] for row in deployments)
    return {
        "deployments": count,
        "deployment frequency": count / days,
        "change failure rate": failed / count if count else None,
        "rework rate": rework / count if count else None,
        "lead time, median": quantile(LEAD, leads),
        "lead time, mean": sum(leads) / len(leads) if leads else None,
        "recovery, median": quantile(RECOVERY, recoveries),
        "changes": len(leads),
        "failed": failed,
        "rework": rework,
        "recoveries": len(recoveries),
    }


def queries(path):
    """The queries by team of the documentation, by the figure's name."""
    found = {}
    with open(path, encoding="utf-8") as text:
        for line in text:
            cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
            # Native histograms have a table of their own, and no ending in their names.
            if len(cells) == 3 and "by (team" in cells[2] and "_seconds{" not in cells[2]:
                found[cells[0]] = cells[2].strip("`")
    missing = {
        "deployment frequency",
        "change failure rate",
        "rework rate",
        "lead time, median",
        "lead time, mean",
        "recovery, median",
        "lead time by service, median",
        "recovery by service, median",
    } - set(found)
    if missing:
        raise SystemExit(f"{path} has no query for {sorted(missing)}")
    return found


def ask(url, query, at):
    body = urllib.parse.urlencode({"query": query, "time": at}).encode()
    with urllib.request.urlopen(f"{url}/api/v1/query", body, timeout=120) as answer:
        result = json.load(answer)["data"]["result"]
    by_service = "by (team, service" in query

    def key(labels):
        return (labels.get("team"), labels.get("service")) if by_service else labels.get("team")

    return {key(row["metric"]): float(row["value"][1]) for row in result}


def close(found, expected):
    if expected is None:
        return found is None or found != found
    if found is None:
        return False
    return abs(found - expected) <= 2e-6 * max(1.0, abs(expected))


def ranges(text):
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?:/(\d+))?)?", part)
        first, last, step = match.groups()
        yield from range(int(first), int(last or first) + 1, int(step or 1))


def main():
    path, url, until, lengths, documentation, *report = sys.argv[1:]
    events = Events(path)
    asked = queries(documentation)
    zone = ZoneInfo(os.environ.get("ZONE", "UTC"))

    def begins(day):
        return datetime.combine(day, datetime.min.time(), zone).timestamp()

    last_day = date.fromisoformat(until)
    end = begins(last_day + timedelta(days=1))

    def beginning(days):
        """Where the last so many days begin: some have 23 hours, and some 25."""
        return begins(last_day + timedelta(days=1 - days))

    wrong, compared = [], 0

    def differ(what, found, expected):
        nonlocal compared
        compared += 1
        if not close(found, expected):
            wrong.append(f"{what}: {found}, and by the events {expected}")

    days = sorted(set(ranges(lengths)))

    def answers(length):
        window = f"{round((end - beginning(length)) * 1000) + 125}ms"
        changed = {name: query.replace("28d125ms", window) for name, query in asked.items()}
        frequency = changed["deployment frequency"]
        if not frequency.endswith("/ 28"):
            raise SystemExit(f"the query of the frequency is another one: {frequency}")
        changed["deployment frequency"] = frequency[: -len("28")] + str(length)
        return length, {name: ask(url, query, end) for name, query in changed.items()}

    with ThreadPoolExecutor(4) as pool:
        for length, answered in pool.map(answers, days):
            for team in events.teams:
                truth = figures(events, team, beginning(length), end, length)
                for name, by_team in answered.items():
                    if name in truth:
                        differ(f"{name} of {team}, {length} days", by_team.get(team), truth[name])
            for team, service in events.services:
                truth = figures(events, team, beginning(length), end, length, service)
                for name in ("lead time", "recovery"):
                    found = answered[f"{name} by service, median"].get((team, service))
                    expected = truth[f"{name}, median"]
                    differ(f"{name} of {service} of {team}, {length} days", found, expected)

    def reported(length):
        command = [*report, "--range", f"{length}d", "--to", until]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise SystemExit(f"{command} ended with {run.returncode}: {run.stderr}")
        return length, json.loads(run.stdout)

    names = {
        "deployments": "deployments",
        "frequency": "deployment frequency",
        "failure_rate": "change failure rate",
        "rework_rate": "rework rate",
        "lead_time": "lead time, median",
        "recovery": "recovery, median",
        "changes": "changes",
        "failed": "failed",
        "rework": "rework",
        "recoveries": "recoveries",
    }
    if report:
        with ThreadPoolExecutor(2) as pool:
            for length, told in pool.map(reported, [each for each in days if each <= 450][:: max(1, len(days) // 12)]):
                begin = beginning(length)
                rows = [("all", None, begin, end, told["all"])]
                rows += [(row["name"], row["name"], begin, end, row) for row in told["teams"]]
                if told.get("previous"):
                    rows.append(("the time before", None, beginning(2 * length), begin, told["previous"]))
                rows = [(*row, None) for row in rows]
                for row in told["services"]:
                    title = f"{row['name']} of {row['team']}"
                    rows.append((title, row["team"], begin, end, row, row["name"]))
                rows = [(*row, length) for row in rows]
                for row in told["periods"]:
                    day = date.fromisoformat(row["until"]) + timedelta(days=1)
                    first = begins(day - timedelta(days=told["period_days"]))
                    rows.append((f"{row['until']}", None, first, begins(day), row, None, told["period_days"]))
                if told["timezone"] != str(zone):
                    raise SystemExit(f"the report is of {told['timezone']}, and not of {zone}")
                for title, team, first, last, row, service, days_of_it in rows:
                    truth = figures(events, team, first, last, days_of_it, service)
                    for field, name in names.items():
                        differ(f"report, {field} of {title}, {length} days", row[field], truth[name])
    for line in wrong[:40]:
        print(line)
    print(f"{compared} figures compared, {len(wrong)} wrong")
    if wrong or not compared:
        raise SystemExit(1)


main()
