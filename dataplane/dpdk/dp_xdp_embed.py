# SPDX-License-Identifier: BSD-3-Clause
"""Write a file as a C array: dp_xdp_embed.py INPUT OUTPUT NAME. Run by meson."""
import sys

with open(sys.argv[1], "rb") as source:
    data = source.read()
with open(sys.argv[2], "w", encoding="ascii") as out:
    out.write(f"static const unsigned char {sys.argv[3]}[] = {{\n")
    for at in range(0, len(data), 16):
        out.write("\t" + ", ".join(str(byte) for byte in data[at : at + 16]) + ",\n")
    out.write("};\n")
