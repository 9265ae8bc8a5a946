"""Runs a command in a terminal of a fixed size and writes what it showed as an animated SVG.

    record.py OUT.svg COLUMNS ROWS COMMAND     called by scripts/record

A shell is started in a pseudo-terminal, the command is typed into it, and a question that ends in
`[y/N]` is answered with yes. What the program writes goes through a terminal emulator (pyte), whose
screens become the frames. Times are those of the run, but for a wait that is longer than LONGEST: while
nothing happens but that a wheel turns and a clock runs.

The picture is a strip of all frames, which CSS moves by one frame at a time behind a window: no
script, no font and no file from elsewhere, so that it plays as an <img>, too. Where motion is not
wanted, or CSS not known, the last frame stands. A row that several frames show is written once.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from xml.sax.saxutils import escape, quoteattr

import pyte

# Seconds.
KEY = 0.06  # between two typed keys
ANSWER = 1.5  # until a question is answered
LONGEST = 1.5  # what is shown of a wait
HOLD = 5.0  # how long the last frame stands before all begins anew
BETWEEN = 0.12  # two frames have at least this between them
WAITING = 0.4  # … of a wait
GIVE_UP = 180.0  # a run that takes longer has failed

PROMPT = "$ "
CELL, LINE, SIZE, MARGIN, BAR = 8.4, 18, 14, 14, 34
COLOURS = {
    "default": "#d8dee6", "black": "#3b424d", "red": "#ff7b72", "green": "#56d364", "brown": "#e3b341",
    "blue": "#79c0ff", "magenta": "#d2a8ff", "cyan": "#56d4dd", "white": "#d8dee6", "brightblack": "#8b949e",
}
FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono','DejaVu Sans Mono',monospace"


def record(command, columns, rows):
    """(seconds, bytes) of everything that the terminal was sent."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(PS1=PROMPT, TERM="xterm-256color", HISTFILE="/dev/null")
        os.execvp("bash", ["bash", "--norc", "--noprofile"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    keys = [(time.monotonic() + 0.8 + KEY * i, key) for i, key in enumerate(command + "\r")]
    began, shown, typed_at, answered = time.monotonic(), [], None, False
    try:
        while True:
            now = time.monotonic()
            if now - began > GIVE_UP:
                sys.exit(f"record: `{command}` did not end within {GIVE_UP:.0f} s; the last screen:\n" + "\n".join(screen.display))
            while keys and keys[0][0] <= now:
                os.write(terminal, keys.pop(0)[1].encode())
                typed_at = now
            if select.select([terminal], [], [], 0.02)[0]:
                data = os.read(terminal, 65536)
                stream.feed(dimmed(data))
                shown.append((time.monotonic() - began, data))
            line = screen.display[screen.cursor.y].rstrip()
            if not answered and line.endswith("[y/N]"):
                answered = True
                keys = [(now + ANSWER, "y"), (now + ANSWER + 4 * KEY, "\r")]
            elif typed_at and not keys and line == PROMPT.rstrip() and now - typed_at > 0.5:
                break
        # Did it succeed? The shell knows; this is not part of the picture.
        os.write(terminal, b"exit $?\r")
        while True:
            try:
                if not os.read(terminal, 65536):
                    break
            except OSError:
                break
        _, status = os.waitpid(pid, 0)
        pid = None
        if os.waitstatus_to_exitcode(status) != 0:
            sys.exit(f"record: `{command}` failed:\n" + "\n".join(screen.display))
        return shown
    finally:
        os.close(terminal)
        if pid:
            os.kill(pid, signal.SIGHUP)


def dimmed(data):
    """pyte does not know faint text: it is shown as grey."""
    return data.replace(b"\x1b[2m", b"\x1b[90m")


def runs(cells, columns):
    """A row as (column, text, style): what is written alike and side by side."""
    row, last = [], None
    for column in range(columns):
        cell = cells[column]
        style = (cell.fg, cell.bold)
        if cell.data.isspace():
            last = None if last is None or not row[-1][1].strip() else last
            if last is not None:
                row[-1][1] += " "
            continue
        if style != last:
            row.append([column, "", style])
            last = style
        row[-1][1] += cell.data
    return tuple((column, text.rstrip(), style) for column, text, style in row)


def still(picture):
    """A picture without what moves while nothing happens."""
    return [[(column, re.sub(r"[\u2800-\u28ff]|\d+(\.\d+)? ?(ms|s|min)\b", "", text)) for column, text, _ in row] for row in picture]


def frames(shown, columns, rows):
    """(seconds, rows of runs), with no two alike one after the other."""
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    taken, at, before, waited, stood = [], 0.0, 0.0, 0.0, None
    for index, (when, data) in enumerate(shown):
        stream.feed(dimmed(data))
        # Whatever follows at once belongs to the same picture.
        if index + 1 < len(shown) and shown[index + 1][0] - when < 0.015:
            continue
        picture = [runs(screen.buffer[y], columns) for y in range(rows)]
        passed = min(when - before, max(LONGEST - waited, 0.0))
        at, before = at + passed, when
        waits = still(picture) == stood
        waited, stood = waited + passed if waits else 0.0, still(picture)
        if taken and picture == taken[-1][1]:
            continue
        if len(taken) > 1 and at - taken[-1][0] < (WAITING if waits else BETWEEN):
            taken[-1] = (taken[-1][0], picture)
        else:
            taken.append((at, picture))
    return [(at - taken[0][0], picture) for at, picture in taken]


def drawn(row):
    text = []
    for column, words, (colour, bold) in row:
        look = f' fill="{COLOURS[colour]}"' if COLOURS.get(colour, COLOURS["default"]) != COLOURS["default"] else ""
        look += ' font-weight="bold"' if bold else ""
        width = f' textLength="{len(words) * CELL:g}"' if len(words) > 1 else ""
        text.append(f'<text x="{column * CELL:g}"{width}{look}>{escape(words)}</text>')
    return "".join(text)


def svg(taken, command, columns, rows):
    width, height = columns * CELL + 2 * MARGIN, rows * LINE + BAR + MARGIN
    seen, strip = {}, []
    for number, (_, picture) in enumerate(taken):
        uses = []
        for y, row in enumerate(picture):
            if row:
                name = seen.setdefault(row, f"r{len(seen)}")
                uses.append(f'<use href="#{name}" y="{y * LINE}"/>')
        strip.append(f'<svg x="{number * width:g}">{"".join(uses)}</svg>')
    total = taken[-1][0] + HOLD
    steps = "".join(f"{at / total * 100:.3f}%{{transform:translateX({-number * width:g}px)}}"
                    for number, (at, _) in enumerate(taken))
    last = f"translateX({-(len(taken) - 1) * width:g}px)"
    rows_written = "".join(f'<g id="{name}">{drawn(row)}</g>' for row, name in seen.items())
    dots = "".join(f'<circle cx="{MARGIN + 6 + 18 * i}" cy="17" r="5" fill="#4a525e"/>' for i in range(3))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}" '
        f'role="img" aria-label={quoteattr("A terminal: " + command)}>'
        "<style>"
        f"text{{white-space:pre;dominant-baseline:text-before-edge}}"
        f".strip{{transform:{last};animation:play {total:.2f}s step-end infinite}}"
        f"@keyframes play{{{steps}}}"
        "@media (prefers-reduced-motion:reduce){.strip{animation:none}}"
        "</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#161b22"/>{dots}'
        f"<defs>{rows_written}</defs>"
        f'<svg x="{MARGIN}" y="{BAR}" width="{columns * CELL:g}" height="{rows * LINE}">'
        f'<g class="strip" fill="{COLOURS["default"]}" font-family="{FONT}" font-size="{SIZE}">{"".join(strip)}</g>'
        "</svg></svg>\n"
    )


def main():
    out, columns, rows, command = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    taken = frames(record(command, columns, rows), columns, rows)
    picture = svg(taken, command, columns, rows)
    with open(out, "w", encoding="utf-8") as file:
        file.write(picture)
    print(f"{len(taken)} frames, {taken[-1][0]:.1f} s, {len(picture.encode()) // 1000} kB: {out}")


main()
