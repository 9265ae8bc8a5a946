"""Makes up repositories, says by docs/sources.md alone which events they tell, and compares
that with what `dorainfra collect git` writes. It shares nothing with the program.

    repositories.py FOLDER FIRST LAST COLLECT…

FOLDER: an empty one. FIRST, LAST: seeds. COLLECT: the command up to `--events`.
"""

import json
import pathlib
import random
import subprocess
import sys
from datetime import datetime

WORDS = ["basket", "price", "search", "login", "invoice", "stock", "report", "coupon"]


def git(folder, *arguments, **more):
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout.strip()


class Commit:
    def __init__(self, number, title, written, landed, parents, reverts=None):
        self.number, self.title, self.written, self.landed = number, title, written, landed
        self.parents, self.reverts, self.hash = parents, reverts, None
        # It names a commit that nobody knows.
        self.lost = False


class Repository:
    """A main line with merged branches, reverts of several forms, and tags."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.commits, self.tags = [], []
        self.time = 1_700_000_000
        head, version, patch = None, 0, 0
        for _ in range(self.chance.randint(12, 40)):
            kind = self.chance.random()
            if head is not None and kind < 0.15:
                head = self.merge(head)
            elif head is not None and kind < 0.35:
                head = self.revert(head)
            else:
                head = self.plain([head] if head else [])
            if self.chance.random() < 0.3:
                if self.chance.random() < 0.2:
                    self.tag(f"v1.{version + 1}.0-rc.{self.chance.randint(1, 3)}.{len(self.tags)}", head)
                elif self.chance.random() < 0.3:
                    patch += 1
                    self.tag(f"v1.{version}.{patch}", head)
                else:
                    version, patch = version + 1, 0
                    self.tag(f"v1.{version}.0", head)
        if all("-rc." in name for name, *_ in self.tags):
            self.tag("v1.99.0", head)

    def later(self):
        self.time += self.chance.randint(600, 90_000)
        return self.time

    def add(self, title, parents, reverts=None):
        landed = self.later()
        written = landed - self.chance.choice([30, 600, 5_000, 80_000])
        commit = Commit(len(self.commits), title, written, landed, parents, reverts)
        self.commits.append(commit)
        return commit

    def plain(self, parents):
        title = f"{self.chance.choice(WORDS)} {len(self.commits)}"
        if self.chance.random() < 0.12:
            title = self.chance.choice(["hotfix: ", "Hotfix ", "[hotfix] "]) + title
        return self.add(title, parents)

    def merge(self, head):
        tip = head
        for _ in range(self.chance.randint(1, 3)):
            tip = self.plain([tip])
        name = self.chance.choice(["feature/x", "feature/y", "tidy"])
        return self.add(f"Merge branch '{name}'", [head, tip])

    def revert(self, head):
        of = self.chance.choice([one for one in self.commits if len(one.parents) < 2])
        title = f'Revert "{of.title}"'
        if self.depth(of) == 0 and self.chance.random() < 0.2:
            lost = self.add(title, [head])
            lost.lost = True
            return lost
        return self.add(title, [head], of)

    def tag(self, name, commit):
        annotated = self.chance.random() < 0.5
        self.tags.append((name, commit, self.later() if annotated else None))

    def store(self, folder):
        """By `commit-tree`, as messages name the hashes of commits before them."""
        git(folder, "init", "--quiet", "--bare", ".")
        tree = git(folder, "hash-object", "-t", "tree", "-w", "--stdin", input="")
        for one in self.commits:
            message = one.title
            if one.reverts is not None:
                message += f"\n\nThis reverts commit {one.reverts.hash}."
            if one.lost:
                message += f"\n\nThis reverts commit {'0123456789' * 4}."
            parents = [each for parent in one.parents for each in ("-p", parent.hash)]
            names = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.com"}
            names |= {"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.com"}
            times = {"GIT_AUTHOR_DATE": f"{one.written} +0000", "GIT_COMMITTER_DATE": f"{one.landed} +0000"}
            one.hash = git(folder, "commit-tree", tree, *parents, "-m", message, env={**names, **times})
        git(folder, "update-ref", "refs/heads/main", self.commits[-1].hash)
        git(folder, "symbolic-ref", "HEAD", "refs/heads/main")
        for name, commit, at in self.tags:
            if at is None:
                git(folder, "update-ref", f"refs/tags/{name}", commit.hash)
                continue
            text = f"object {commit.hash}\ntype commit\ntag {name}\ntagger A <a@example.com> {at} +0000\n\nx\n"
            made = git(folder, "mktag", input=text)
            git(folder, "update-ref", f"refs/tags/{name}", made)

    def expected(self):
        deployments = [
            (at or commit.landed, name, commit) for name, commit, at in self.tags if "-rc." not in name
        ]
        deployments.sort(key=lambda one: (one[0], one[1]))
        seen, brought, result = set(), {}, []
        for at, name, commit in deployments:
            new, todo = [], [commit]
            while todo:
                one = todo.pop()
                if one in seen:
                    continue
                seen.add(one)
                new.append(one)
                todo += one.parents
            changes = [one for one in new if len(one.parents) < 2]
            for one in changes:
                brought[one] = name
            result.append((at, name, changes))
        events, previous = {"deployments": {}, "failures": set()}, None
        for at, name, changes in result:
            # What comes and goes in one deployment nobody has seen: the last word first.
            unseen = set()
            for one in sorted(changes, key=lambda one: (self.depth(one), one.number), reverse=True):
                if self.meant(one) in changes and one not in unseen:
                    unseen |= {one, self.meant(one)}
            blamed, mending = {}, set()
            for one in changes:
                if one in unseen:
                    continue
                takes_back = self.depth(one) % 2 == 1
                hotfix = one.title.lower().startswith("hotfix") or "[hotfix]" in one.title
                # The title of one that gives back only quotes the hotfix.
                if takes_back or (hotfix and one.reverts is None and not one.lost):
                    mending.add(one)
                # What it names is to blame, if it ever ran.
                if takes_back and brought.get(self.meant(one), name) != name:
                    blamed.setdefault(brought[self.meant(one)], set()).add(one)
            rework = bool(mending) and 2 * len(mending) >= len(set(changes) - unseen)
            if rework and not blamed and previous is not None and any(not one.reverts and not one.lost for one in mending):
                blamed[previous] = mending
            for cause, by in blamed.items():
                ran = events["deployments"][cause][0]
                events["failures"].add((cause, max(ran, min(one.written for one in by)), at))
            hashes = sorted((one.hash, one.written) for one in changes)
            events["deployments"][name] = (at, "rework" if rework else "planned", hashes)
            previous = name
        return events

    def depth(self, commit):
        """0 of what takes nothing back, 1 of a revert, 2 of a revert of a revert."""
        depth = 0
        while commit.reverts is not None:
            depth, commit = depth + 1, self.meant(commit)
        return depth + commit.lost

    def meant(self, commit):
        """What a revert takes back: the commit that users had the change from by then, whichever of
        those that brought it is named; or the last one that had taken it back."""
        if commit.reverts is None:
            return None
        taken = self.is_there(commit.reverts)
        there, meant = False, commit.reverts
        for one in self.commits[: commit.number]:
            if self.root(one) is self.root(commit):
                turns, there = self.is_there(one) != there, self.is_there(one)
                if there == taken and (turns or not taken):
                    meant = one
        return meant

    @staticmethod
    def root(commit):
        while commit.reverts is not None:
            commit = commit.reverts
        return commit

    @staticmethod
    def is_there(commit):
        """Whether the change that it is about is there after it."""
        there = True
        while commit.reverts is not None:
            there, commit = not there, commit.reverts
        return there != commit.lost


def seconds(text):
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


def collected(path):
    deployments, failures, recoveries, changes = {}, {}, {}, {}
    name = lambda text: text.rsplit("@", 1)[1]
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["type"] == "change":
            changes[event["id"]] = (name(event["id"]), seconds(event["at"]))
        elif event["type"] == "deployment":
            deployments[name(event["id"])] = event
        elif event["type"] == "failure":
            failures[event["id"]] = event
        else:
            recoveries[event["failure"]] = seconds(event["at"])
    told = {"deployments": {}, "failures": set()}
    for key, one in deployments.items():
        hashes = sorted(changes[each] for each in one.get("changes", ()))
        told["deployments"][key] = (seconds(one["at"]), one.get("kind", "planned"), hashes)
    for key, one in failures.items():
        told["failures"].add((name(one["deployment"]), seconds(one["at"]), recoveries.get(key)))
    return told


def main():
    folder, first, last, *collect = sys.argv[1:]
    wrong, deployments, changes, failures = 0, 0, 0, 0
    for seed in range(int(first), int(last) + 1):
        repository = Repository(seed)
        place = pathlib.Path(folder, str(seed))
        place.mkdir()
        repository.store(place)
        events = pathlib.Path(folder, f"{seed}.jsonl")
        command = [*collect, "--events", str(events), "--team", "t", "--service", "s", str(place)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise SystemExit(f"{command} ended with {run.returncode}: {run.stderr}")
        expected, found = repository.expected(), collected(events)
        deployments += len(expected["deployments"])
        changes += sum(len(one[2]) for one in expected["deployments"].values())
        failures += len(expected["failures"])
        if found != expected:
            wrong += 1
            print(f"seed {seed}:")
            for name in sorted(set(expected["deployments"]) | set(found["deployments"])):
                pair = [found["deployments"].get(name), expected["deployments"].get(name)]
                if pair[0] != pair[1]:
                    print(f"  {name}: {pair[0]}\n    by the rules {pair[1]}")
            print(f"  failures told alone: {sorted(found['failures'] - expected['failures'])}")
            print(f"  by the rules alone: {sorted(expected['failures'] - found['failures'])}")
    print(
        f"{int(last) - int(first) + 1} repositories, {deployments} deployments, {changes} changes, "
        f"{failures} failures: {wrong} repositories differ"
    )
    if wrong or not failures:
        raise SystemExit(1)


main()
