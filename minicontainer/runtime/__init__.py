"""The low half: an OCI bundle becomes a process.

It plays the part of runc. It knows bundles (a directory with ``config.json`` and a root filesystem),
namespaces, cgroups, mounts, capabilities and system call filters; it does not know images, names or networks.
"""
