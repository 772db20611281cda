"""What a process that reads a stranger's file may still do."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from pathlib import Path

NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # system calls, the same on every architecture
BENEATH = 1  # LANDLOCK_RULE_PATH_BENEATH
NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS
READING = 0b1101  # execute, read files and read folders: the rights of the first version that are no writing
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many rights on files each version of Landlock knows


def confine(folder: Path | None = None) -> bool:
    """From here on this process and its children can change no file outside a folder and open no connection, where the kernel has Landlock
    (Linux 5.13; 6.7 for connections): https://docs.kernel.org/userspace-api/landlock.html. Whether it has."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NETWORK) != 0:  # what is no TCP: a network of its own, where this user may have one
        libc.unshare(NEW_USER | NEW_NETWORK)
    version = libc.syscall(LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    writing = ((1 << RIGHTS[min(version, 5)]) - 1) & ~READING
    rules = struct.pack("QQ", writing, 0b11 if version >= 4 else 0)  # of files; of connections: bind and connect
    held = libc.syscall(LANDLOCK_CREATE, rules, len(rules) if version >= 4 else 8, 0)
    if folder is not None and held >= 0:
        libc.syscall(LANDLOCK_ADD, held, BENEATH, struct.pack("=Qi", writing, os.open(folder, os.O_PATH | os.O_CLOEXEC)), 0)
    return held >= 0 and libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0 and libc.syscall(LANDLOCK_RESTRICT, held, 0) == 0
