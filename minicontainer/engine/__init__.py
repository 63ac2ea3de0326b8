"""The high half: containers by name, from images.

It plays the part of containerd and dockerd, without a daemon: state is plain files, and each running
container has one small monitor of its own. What is to run it hands to the low half as an OCI bundle.
"""
