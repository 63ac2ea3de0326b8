"""The doors into Linux, one file per facility.

Thin functions over system calls: encode, call, raise. They hold no policy, know nothing of containers, and
are the only place in the package with ctypes, system call numbers and the kernel's constants. Each constant
is named as in its kernel header, each function cites its manual page.
"""
