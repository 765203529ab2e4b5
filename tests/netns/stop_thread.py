#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Hold one thread still, as a debugger would, until it ends with its process: stop_thread.py TID"""
import ctypes
import os
import sys

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207

libc = ctypes.CDLL(None, use_errno=True)
tid = int(sys.argv[1])
for request in PTRACE_SEIZE, PTRACE_INTERRUPT:
    if libc.ptrace(request, tid, None, None) < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
while True:
    _, status = os.waitpid(tid, 0x40000000)  # __WALL
    if os.WIFEXITED(status) or os.WIFSIGNALED(status):
        break
