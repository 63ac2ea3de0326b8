"""Asking before something is removed for good."""

from __future__ import annotations

import sys


def confirmed(warning: str) -> bool:
    """Print what is about to happen and ask; everything but ``y`` means no, and so does the end of the input."""
    print(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() == "y"
