#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Bars from JSON lines, as SVG: what every bench can draw of its --json.

    scripts/bench.sh NAME --json | bench/plot.py [OPTION...] FILE.svg

A bar per line: its name from the keys of --label (joined), its length from --value. --mark draws a line at a
value, such as the target. The result is plain text, so that git shows what changed.
"""
import argparse
import json
import sys
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 760, 230, 90, 56, 22, 10
OURS, OTHERS = "#2563a8", "#9aa4ad"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--title", default="")
    parser.add_argument("--unit", default="")
    parser.add_argument("--label", default="who", help="comma-separated keys")
    parser.add_argument("--value", default="ratio")
    parser.add_argument("--mark", type=float)
    parser.add_argument("--highlight", default="sandd-gw", help="bars whose name holds this word")
    return parser.parse_args()


def text(x, y, words, extra=""):
    return f'<text x="{x:.0f}" y="{y:.0f}" {extra}>{escape(words)}</text>'


def draw(args, rows):
    bars = [(" ".join(str(row.get(key, "")) for key in args.label.split(",")), float(row[args.value]))
            for row in rows if row.get(args.value) is not None]
    top = max([value for _, value in bars] + [args.mark or 0, 1e-9])
    scale = (WIDTH - LEFT - RIGHT) / top
    height = TOP + len(bars) * (BAR + GAP) + 16
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
           f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
           f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
           text(16, 26, args.title, 'font-size="16"')]
    for i, (name, value) in enumerate(bars):
        y = TOP + i * (BAR + GAP)
        colour = OURS if args.highlight in name else OTHERS
        out.append(text(LEFT - 10, y + BAR - 6, name, 'text-anchor="end"'))
        out.append(f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR}" fill="{colour}"/>')
        out.append(text(LEFT + value * scale + 6, y + BAR - 6, f"{value:.2f} {args.unit}".strip()))
    if args.mark is not None:
        x = LEFT + args.mark * scale
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{height - 12}" '
                   'stroke="#b03030" stroke-dasharray="4 3"/>')
    return "\n".join(out + ["</svg>", ""])


def main():
    args = arguments()
    rows = [json.loads(line) for line in sys.stdin if line.strip().startswith("{")]
    if not rows:
        sys.exit("plot.py: no JSON lines on standard input")
    with open(args.file, "w", encoding="utf-8") as file:
        file.write(draw(args, rows))


if __name__ == "__main__":
    main()
