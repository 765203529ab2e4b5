# gdb started in this folder prints our types in words and knows sandd-peers, sandd-workers, sandd-drops.
# gdb asks for it once: add-auto-load-safe-path on this file.
source scripts/gdb_pprint.py
